"""The agent's verdict is found on a console where everybody else talks too."""

from coordinator.console_output import LINES, agents_words, remedy_of

NOISE = "<14>Nov 23 10:34:16 cloud-init: ####\r\nsh[654]: Completed socket interaction for boot stage final\r\n"


def verdict(pid: int, code: str, *, program: str = "bootwright", stamp: str = "") -> str:
    lines = (
        "agent boot: (not enrolled) on i-0: failed",
        f"  error: {code}: it does not answer",
        "    remedy: start it",
    )
    return "".join(f"{stamp}{program}[{pid}]: {line}\r\n" for line in lines)


def test_the_last_verdict_is_told_with_its_cause_and_its_remedy() -> None:
    said = agents_words(NOISE + verdict(7, "imds-disabled") + NOISE + verdict(9, "imds-unreachable") + NOISE)
    assert said == (
        "agent boot: (not enrolled) on i-0: failed",
        "  error: imds-unreachable: it does not answer",
        "    remedy: start it",
    )
    assert remedy_of(said) == "start it"


def test_a_kernel_that_stamps_lines_and_an_image_that_calls_the_agent_python_are_understood() -> None:
    said = agents_words(verdict(9, "s3-unreachable", program="python", stamp="[   16.541002] "))
    assert said[1] == "  error: s3-unreachable: it does not answer"


def test_what_other_programs_print_in_between_is_left_out() -> None:
    first, *rest = verdict(9, "s3-unreachable").splitlines(keepends=True)
    said = agents_words(first + "kubelet[9]:   error: not of the agent\r\n" + NOISE + "".join(rest))
    assert "not of the agent" not in str(said)
    assert said[-1] == "    remedy: start it"


def test_without_a_verdict_it_is_the_units_lines_or_the_last_of_all() -> None:
    crash = "bootwright[5]: Traceback (most recent call last):\nbootwright[5]: ImportError: no module named units\n"
    assert agents_words(NOISE + crash + NOISE)[-1] == "bootwright[5]: ImportError: no module named units"
    assert agents_words("GRUB\nno bootable device\n") == ("GRUB", "no bootable device")
    assert agents_words("") == ()
    assert remedy_of(()) == ""


def test_however_much_is_printed_little_is_told_and_the_cause_first() -> None:
    many = "bootwright[5]: agent boot: x\n" + "".join(f"bootwright[5]:   error: e{n}: {'x' * 999}\n" for n in range(50))
    said = agents_words(many)
    assert len(said) == LINES
    assert said[1].startswith("  error: e0: ")
    assert max(map(len, said)) <= 300
