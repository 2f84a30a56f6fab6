"""A founded, published cluster in a lab of its own, and a node in it, as the end-to-end tests hold them."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.bases import DEBIAN_13, Base
from tests.lab.kubernetes.provide import provide
from tests.lab.region.client import LabError, RemoteMachine
from tests.lab.region.ledger import LOCK
from tests.lab.region.machines import Completed
from tests.lab.scenario import GROUP, Scenario
from tests.lab.screen import Screen

KEPT = Path(os.environ.get("BOOTWRIGHT_CACHE", "/var/cache/bootwright")) / "kubernetes"
BUSY_SECONDS = 1800.0  # another lab on this host has the bridge; in CI nobody else does
LOOK_AGAIN = 20.0
ETCD = "bootwright-etcd-main.service"
TIMER = "bootwright-sync.timer"

_MARK = "-- lab --"

# Everything the agent may write, with inode and time of change: a file written again with the same bytes shows too.
_FINGERPRINT = f"""
find /etc/kubernetes /etc/systemd/system /etc/containerd /etc/cni /etc/hosts /etc/crictl.yaml /etc/sysctl.d \
    /etc/modules-load.d /usr/local/bin /var/lib/kubelet/config.yaml /run/bootwright/secrets /run/bootwright/started \
    /run/bootwright/etcd-main.env /var/lib/etcd/main/.established /var/lib/etcd/main/.bootstrap.json \
    /var/lib/etcd/main/.etcd-volume.json -printf '%p %y %m %U %G %i %C@ %s %l\\n' | sort
systemctl show --property=Id,ActiveState,ExecMainPID,ExecMainStartTimestampMonotonic \
    {ETCD} containerd.service kubelet.service
findmnt --noheadings --output SOURCE,TARGET,OPTIONS /var/lib/etcd/main
ctr --namespace k8s.io images list --quiet | grep -v ^sha256: | sort
"""

# All that a test of the agent wants to know, in one session: ssh alone takes as long as a fingerprint.
_OBSERVE = f"""
look() {{ {_FINGERPRINT} }}
SCRIPT
look > /run/lab-before
COMMAND > /run/lab-said 2> /run/lab-log
code=$?
look > /run/lab-after
cat /run/lab-said
echo {_MARK}
diff /run/lab-before /run/lab-after
echo {_MARK}
cat /run/bootwright/status.json
cat /run/lab-log >&2
exit $code
"""

# Bash alone and without a pause: a resource takes milliseconds.
_KILL = """
sed -i 's|"waiting_for": "[^"]*"|"waiting_for": ""|' /run/bootwright/status.json 2> /dev/null
agent {command} > /run/lab-agent.log 2>&1 &
agent=$!
while kill -0 $agent; do
    status=$(< /run/bootwright/status.json)
    if [[ $status =~ \\"waiting_for\\":\\ \\"([0-9]+)/ ]] && (( BASH_REMATCH[1] >= {at} )); then break; fi
done 2> /dev/null
kill -KILL $agent
wait $agent
echo "${{BASH_REMATCH[1]}} $?"
"""


@dataclass(frozen=True, slots=True)
class Observed:
    """One run of the agent. changes: `diff` of the fingerprints around it; status: what it left on the node."""

    exit_code: int
    said: str
    log: str
    changes: str
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveNode:
    """One instance of a scenario, by way of ssh."""

    scenario: Scenario
    instance_id: str

    @property
    def machine(self) -> RemoteMachine:
        return self.scenario.client.machine(self.instance_id)

    def try_sh(self, script: str, *, timeout: float = 120.0) -> Completed:
        return self.machine.exec("bash", "-c", script, timeout=timeout)

    def sh(self, script: str, *, timeout: float = 120.0) -> str:
        """What the script prints; it must succeed."""
        done = self.try_sh(script, timeout=timeout)
        assert done.returncode == 0, f"{script}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def agent(self, *arguments: str) -> Completed:
        return self.machine.exec("agent", *arguments, timeout=300.0)

    def observe(self, command: str, *, script: str = "true") -> Observed:
        """Run `agent COMMAND`, after a script that prepares the node for it."""
        done = self.try_sh(_OBSERVE.replace("SCRIPT", script).replace("COMMAND", f"agent {command}"), timeout=300)
        said, changes, status = done.stdout.split(f"{_MARK}\n")
        return Observed(done.returncode, said, done.stderr, changes, json.loads(status))

    def kill_agent(self, command: str = "boot", *, at: int) -> None:
        """Start it, and SIGKILL it as soon as it is at the resource of that number, or beyond."""
        number, exit_code = self.sh(_KILL.format(command=command, at=at), timeout=300).split()
        assert (int(number) >= at, exit_code) == (True, "137"), self.sh("cat /run/lab-agent.log")

    def status(self) -> dict[str, Any]:
        """What the node says of itself, asked on the node."""
        return dict(json.loads(self.agent("status", "--json").stdout))

    def fingerprint(self) -> list[str]:
        """Equal before and after exactly when nothing was written, restarted, mounted or loaded between."""
        return self.sh(_FINGERPRINT).splitlines()

    def boot_id(self) -> str:
        return self.sh("cat /proc/sys/kernel/random/boot_id")

    def etcdctl(self, *arguments: str) -> str:
        """As the health check's client, which the agent made a certificate for."""
        pki = "/etc/kubernetes/pki"
        client = f"--cert {pki}/etcd/healthcheck-client.pem --key {pki}/etcd/healthcheck-client.pem"
        return self.sh(
            f"ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2379 --cacert {pki}/ca/etcd-clients.crt {client} "
            + " ".join(arguments)
        )

    def is_reachable(self) -> bool:
        return self.machine.is_reachable()


@contextmanager
def live_cluster(
    directory: Path,
    *,
    edit_spec: Callable[[str], str] = str,
    before_publish: Callable[[Scenario], None] = lambda _: None,
    built_of: Base | None = None,
) -> Iterator[Scenario]:
    """Two groups, published: the demo's control plane, and workers. Ends the lab, whatever happens inside.

    built_of: machines boot the AMI that Packer builds of that base, and not the baked image.
    """
    by_packer = built_of is not None
    scenario = Scenario(directory, provide(KEPT), Screen(), by_packer=by_packer, base=built_of or DEBIAN_13)
    scenario.edit_spec = edit_spec
    try:
        _up_when_the_bridge_is_free(scenario)
        scenario.found()
        before_publish(scenario)
        scenario.publish()
        yield scenario
    finally:
        scenario.down()


def ready_node(scenario: Scenario) -> LiveNode:
    instance = scenario.launch(GROUP)
    scenario.wait_until_ready(instance)
    return LiveNode(scenario, instance)


def _up_when_the_bridge_is_free(scenario: Scenario) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return scenario.up()
        except LabError as error:
            if "up on this host already" not in str(error) or time.monotonic() > deadline:
                raise
        _wait_while_held(min(deadline, time.monotonic() + LOOK_AGAIN))


def _wait_while_held(deadline: float) -> None:
    """Its holder empties the lock's file; one that was killed did not, so now and then it is tried all the same."""
    while LOCK.stat().st_size and time.monotonic() < deadline:
        time.sleep(0.3)
