"""What the tests of attacks demand of a node, whatever was done to it. pytest explains no assert here: they do it."""

import json

from tests.lab.live import LiveNode
from tests.lab.region.machines import Completed
from units.status import STAGE_OF_EXIT


def refused(node: LiveNode, *, code: str, exit_code: int, says: str, command: str = "boot") -> Completed:
    """The agent ends with this code and exit code, names what is wrong and what to do, and changes nothing."""
    done = _without_a_change(node, command)
    said = done.stdout + done.stderr
    assert done.returncode == exit_code, f"exit code {done.returncode}, not {exit_code}: {said}"
    for part in (f"error: {code}: ", says, "remedy: "):
        assert part in done.stdout, f"{part!r} is missing: {said}"
    asked = node.agent("status", "--json")
    status = json.loads(asked.stdout)
    errors = [condition["code"] for condition in status["conditions"] if condition["severity"] == "error"]
    found, wanted = (status["stage"], errors, asked.returncode), (STAGE_OF_EXIT[exit_code], [code], exit_code)
    assert found == wanted, f"`agent status` says {found}, not {wanted}"
    return done


def warned(node: LiveNode, code: str) -> None:
    """It boots, changes nothing, and says what is not as it should be."""
    done = _without_a_change(node, "boot")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in (f"warning: {code}: ", "nothing to change"):
        assert part in done.stdout, f"{part!r} is missing: {done.stdout}"
    status = node.status()
    assert (status["stage"], status["trust"]) == ("ready", code), f"{status['stage']}, {status['trust']}"
    tells_the_store(node, code)


def tells_the_store(node: LiveNode, code: str) -> None:
    conditions = node.scenario.status(node.instance_id)["conditions"]
    assert code in [condition["code"] for condition in conditions], conditions


def recovers(node: LiveNode) -> None:
    done = node.agent("boot")
    assert done.returncode == 0, done.stdout + done.stderr


def _without_a_change(node: LiveNode, command: str) -> Completed:
    before = set(node.fingerprint())
    done = node.agent(command)
    after = set(node.fingerprint())
    changes = [f"- {line}" for line in sorted(before - after)] + [f"+ {line}" for line in sorted(after - before)]
    assert not changes, f"`agent {command}` changed the node:\n" + "\n".join([*changes, done.stdout])
    return done
