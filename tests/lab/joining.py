"""What keeps a worker from joining, as its user meets it: a code with its remedy, and gone by itself with its cause."""

from typing import Any

from tests.lab.live import LiveNode

PKI = "/etc/kubernetes/pki"
IDENTITY = f"{PKI}/kubelet/client.pem"
BOOT = "bootwright-boot.service"
RETRYING = 4  # exit code of `agent status`

# The certificate goes, its key stays: the machine has to prove again which instance it is.
FORGET_THE_CERTIFICATE = f"""
openssl req -x509 -key {IDENTITY} -subj /CN=nobody -days 1 -out /run/nobody.crt
openssl pkey -in {IDENTITY} >> /run/nobody.crt
install -m 0600 /run/nobody.crt {IDENTITY}
"""


def shows(node: LiveNode, code: str, remedy: str) -> None:
    """In its status object, and to whoever asks on the machine: the same code, and what to do."""

    def told() -> bool:
        return code in codes(node.scenario.status(node.instance_id))

    node.scenario.client.wait_until(f"{node.instance_id} shows {code}", told, 180)
    status = node.scenario.status(node.instance_id)
    (condition,) = [one for one in status["conditions"] if one["code"] == code]
    assert remedy in condition["remedy"]
    asked = node.agent("status")
    assert f"{code} since " in asked.stdout
    assert "  -> " in asked.stdout
    assert remedy in " ".join(asked.stdout.split())
    assert asked.returncode == RETRYING


def heals(node: LiveNode) -> None:
    """Nobody touches the machine any more: it becomes ready, and what was wrong is not shown any longer."""
    node.scenario.wait_until_ready(node.instance_id, 300)
    assert not codes(node.scenario.status(node.instance_id))


def codes(status: dict[str, Any]) -> list[str]:
    return [one["code"] for one in status.get("conditions") or [] if one["severity"] == "error"]
