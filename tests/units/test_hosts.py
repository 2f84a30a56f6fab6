"""The block in /etc/hosts: ours between the marks, and not one byte outside them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.units.machines import empty_machine
from units.errors import Fatal
from units.hosts import HostsBlock
from units.memory import MemoryHost

BLOCK = HostsBlock("cluster", (("192.0.2.10", ("a.etcd-main.internal.prod.example.com",)), ("192.0.2.1", ("api", "b"))))
EMPTY = HostsBlock("cluster", ())
BEGIN, END = "# begin bootwright cluster\n", "# end bootwright cluster\n"
OURS = f"{BEGIN}192.0.2.10 a.etcd-main.internal.prod.example.com\n192.0.2.1 api b\n{END}"
OLD = f"{BEGIN}192.0.2.99 old\n{END}"


def machine_with(hosts: bytes | None) -> MemoryHost:
    machine = empty_machine()
    if hosts is not None:
        machine.files.write("/etc/hosts", hosts, mode=0o644, owner="root", group="root")
    return machine


def applied(block: HostsBlock, hosts: bytes | None) -> bytes:
    machine = machine_with(hosts)
    if block.check(machine.host) is None:
        return hosts or b""
    block.apply(machine.host)
    assert block.check(machine.host) is None
    return machine.files.entries["/etc/hosts"].content or b""


CASES: dict[str, tuple[HostsBlock, str | None, str]] = {
    "no file": (BLOCK, None, OURS),
    "an empty file": (BLOCK, "", OURS),
    "at the end of what is there": (BLOCK, "127.0.0.1 localhost\n", f"127.0.0.1 localhost\n{OURS}"),
    "after a last line without an end": (BLOCK, "127.0.0.1 localhost", f"127.0.0.1 localhost\n{OURS}"),
    "in the place of an old one": (BLOCK, f"above\n{OLD}below\n", f"above\n{OURS}below\n"),
    "once, though it was there twice": (BLOCK, f"{OLD}between\n{OLD}", f"{OURS}between\n"),
    "the same": (BLOCK, f"above\n{OURS}below\n", f"above\n{OURS}below\n"),
    "a begin without an end takes nothing with it": (BLOCK, f"above\n{BEGIN}kept\n", f"above\n{OURS}kept\n"),
    "a begin inside a begin": (BLOCK, f"{BEGIN}kept\n{OLD}", f"{OURS}kept\n"),
    "an end without a begin": (BLOCK, f"above\n{END}below\n", f"above\nbelow\n{OURS}"),
    "removed when there is nothing to say": (EMPTY, f"above\n{OLD}below\n", "above\nbelow\n"),
    "nothing to say, no file": (EMPTY, None, ""),
    "nothing to say, not even a newline": (EMPTY, "127.0.0.1 localhost", "127.0.0.1 localhost"),
    "the block of somebody else": (
        BLOCK,
        f"# begin bootwright other\n{END}x\n",
        f"# begin bootwright other\nx\n{OURS}",
    ),
    "marks with a carriage return": (BLOCK, OLD.replace("\n", "\r\n") + "below\r\n", f"{OURS}below\r\n"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_block_goes(name: str) -> None:
    block, before, after = CASES[name]
    assert applied(block, before.encode() if before is not None else None).decode() == after


def test_an_empty_block_makes_no_file() -> None:
    machine = machine_with(None)
    assert EMPTY.check(machine.host) is None
    EMPTY.apply(machine.host)
    assert machine.files.entries.get("/etc/hosts") is None or machine.files.entries["/etc/hosts"].content == b""


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_byte_outside_the_marks_is_changed(above: bytes, below: bytes) -> None:
    first = applied(BLOCK, above)
    assert first.startswith(above)
    assert first.removeprefix(above).lstrip(b"\n") == OURS.encode()
    old = above + (b"" if not above or above.endswith((b"\n", b"\r")) else b"\n") + OLD.encode() + below
    assert applied(BLOCK, old) == old.replace(OLD.encode(), OURS.encode())


@given(st.lists(st.sampled_from([BEGIN, END, "x\n", "127.0.0.1 localhost\n", "\n"]), max_size=12))
def test_whatever_marks_are_there_every_other_line_is_kept_once(lines: list[str]) -> None:
    text = "".join(lines).encode()
    result = applied(BLOCK, text)
    assert result.count(OURS.encode()) == 1
    assert applied(BLOCK, result) == result
    assert set(result.replace(OURS.encode(), b"").splitlines()) <= set(text.splitlines())


def test_a_symlink_is_not_replaced() -> None:
    machine = empty_machine()
    machine.files.symlink("/etc/hosts", "/somewhere/hosts")
    with pytest.raises(Fatal) as fatal:
        BLOCK.check(machine.host)
    assert fatal.value.code == "hosts-not-a-file"


def test_the_diff_is_printable_whatever_the_file_holds() -> None:
    change = BLOCK.check(machine_with(b"\xff\xfe localhost\n").host)
    assert change is not None
    change.diff.encode()
