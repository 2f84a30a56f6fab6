"""What the tests of attacks demand of a node, whatever was done to it. pytest explains no assert here: they do it."""

from tests.lab.live import LiveNode, Observed
from units.status import STAGE_OF_EXIT


def refused(
    node: LiveNode, *, code: str, exit_code: int, says: str, command: str = "boot", script: str = "true"
) -> Observed:
    """The agent ends with this code and exit code, names what is wrong and what to do, and changes nothing."""
    seen = _unchanged(node, command, script)
    assert seen.exit_code == exit_code, f"exit code {seen.exit_code}, not {exit_code}: {seen.said}{seen.log}"
    for part in (f"error: {code}: ", says, "remedy: "):
        assert part in seen.said, f"{part!r} is missing: {seen.said}"
    errors = [condition["code"] for condition in seen.status["conditions"] if condition["severity"] == "error"]
    found = (seen.status["stage"], errors)
    assert found == (STAGE_OF_EXIT[exit_code], [code]), f"the status says {found}: {seen.said}"
    return seen


def warned(node: LiveNode, code: str, *, script: str = "true") -> None:
    """It boots, changes nothing, and says what is not as it should be."""
    seen = _unchanged(node, "boot", script)
    assert seen.exit_code == 0, seen.said + seen.log
    for part in (f"warning: {code}: ", "nothing to change"):
        assert part in seen.said, f"{part!r} is missing: {seen.said}"
    found = (seen.status["stage"], seen.status["trust"])
    assert found == ("ready", code), f"the status says {found}"
    tells_the_store(node, code)


def tells_the_store(node: LiveNode, code: str) -> None:
    conditions = node.scenario.status(node.instance_id)["conditions"]
    assert code in [condition["code"] for condition in conditions], conditions


def tells_whoever_asks(node: LiveNode, *, code: str, exit_code: int) -> None:
    asked = node.agent("status")
    assert asked.returncode == exit_code, asked.stdout
    for part in (f"{code} since ", "  -> "):
        assert part in asked.stdout, f"{part!r} is missing: {asked.stdout}"


def recovers(node: LiveNode) -> None:
    done = node.agent("boot")
    assert done.returncode == 0, done.stdout + done.stderr


def _unchanged(node: LiveNode, command: str, script: str) -> Observed:
    seen = node.observe(command, script=script)
    assert not seen.changes, f"`agent {command}` changed the node:\n{seen.changes}{seen.said}"
    return seen
