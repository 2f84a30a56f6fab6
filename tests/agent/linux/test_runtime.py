"""What containerd says it runs; the answers are those of containerd 1.7.24 under kubelet 1.36.2 in the lab."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from agent.linux.runtime import ContainerdRuntime
from tests.agent.linux.recorded import Answer, RunDouble
from units.errors import Fatal, Retryable

SANDBOX, CONTAINER = "26fad06d95c64c1b", "6ba08cacc806b3e6"
OLD_SANDBOX, OLD_CONTAINER = "0c0c5703402a17a7", "2b076c8e0911b83f"
NEW, OLD = "e9bc916ad255af6db39a7d973b8b0a4a", "0123456789abcdef0123456789abcdef"
GONE = 'ctr: container "nothere" in namespace "k8s.io": not found'
UNREACHABLE = (
    'ctr: failed to dial "/run/containerd/containerd.sock": context deadline exceeded: connection error: '
    'desc = "transport: error while dialing: dial unix:///run/containerd/containerd.sock: timeout"'
)


@dataclass
class Recorded:
    """containerd with the scheduler's pod; what a test changes is what it is about."""

    running: list[str] = field(default_factory=lambda: [SANDBOX, CONTAINER])
    sandboxes: dict[str, tuple[str, str]] = field(default_factory=lambda: {SANDBOX: ("uid-new", NEW)})
    containers: dict[str, list[str]] = field(default_factory=lambda: {"uid-new": [CONTAINER]})
    silent: bool = False

    def __call__(self, arguments: Sequence[str]) -> Answer:
        command = list(arguments[arguments.index("k8s.io") + 1 :])
        if self.silent:
            return 1, "", UNREACHABLE
        match command:
            case ["tasks", "list"]:
                lines = [f"{one}    1362    RUNNING" for one in self.running]
                return "\n".join(["TASK    PID     STATUS    ", *lines, "97c7a54035824359    1193    STOPPED"]) + "\n"
            case ["containers", "info", container]:
                return self._info(container)
            case ["containers", "list", "--quiet", asked] if "==sandbox" in asked:
                return "\n".join(self.sandboxes)
            case ["containers", "list", "--quiet", asked]:
                return "\n".join(self.containers.get(asked.rpartition("==")[2], []))
        return "Client:\n  Version:  1.7.24~ds1\n"

    def _info(self, container: str) -> Answer:
        if container not in self.sandboxes:
            return 1, "", GONE
        uid, digest = self.sandboxes[container]
        labels = {"bootwright.io/digest": digest, "component": "kube-scheduler", "io.kubernetes.pod.uid": uid}
        return json.dumps({"ID": container, "Labels": labels})


def found(recorded: Recorded) -> dict[str, frozenset[str]]:
    return ContainerdRuntime(RunDouble(recorded)).static_pods()


def test_a_static_pod_is_known_by_the_digest_that_its_sandbox_carries() -> None:
    assert found(Recorded()) == {"kube-scheduler": frozenset({NEW})}


def test_a_pod_whose_container_or_sandbox_does_not_run_is_not_running() -> None:
    assert found(Recorded(running=[SANDBOX])) == {}
    assert found(Recorded(running=[CONTAINER])) == {}
    assert found(Recorded(containers={})) == {}


def test_a_container_that_crashed_beside_its_successor_does_not_count() -> None:
    assert found(Recorded(containers={"uid-new": ["crashed", CONTAINER]})) == {"kube-scheduler": frozenset({NEW})}


def test_while_a_pod_is_replaced_both_are_told() -> None:
    both = Recorded(
        running=[SANDBOX, CONTAINER, OLD_SANDBOX, OLD_CONTAINER],
        sandboxes={SANDBOX: ("uid-new", NEW), OLD_SANDBOX: ("uid-old", OLD)},
        containers={"uid-new": [CONTAINER], "uid-old": [OLD_CONTAINER]},
    )
    assert found(both) == {"kube-scheduler": frozenset({NEW, OLD})}


def test_a_sandbox_that_goes_between_two_questions_is_gone() -> None:
    class Going(Recorded):
        def __call__(self, arguments: Sequence[str]) -> Answer:
            answer = super().__call__(arguments)
            return (1, "", GONE) if "info" in arguments else answer

    assert found(Going()) == {}


def test_a_containerd_that_does_not_answer_is_told_with_its_own_words() -> None:
    silent = ContainerdRuntime(RunDouble(Recorded(silent=True)))
    with pytest.raises(Retryable) as refused:
        silent.static_pods()
    assert refused.value.code == "containerd-unreachable"
    assert "failed to dial" in silent.complaint()
    assert ContainerdRuntime(RunDouble(Recorded())).complaint() == ""


def test_a_machine_without_ctr_is_ill_and_says_so() -> None:
    def absent(_arguments: Sequence[str]) -> Answer:
        return Fatal("tool-missing", "cannot run ctr: No such file or directory")

    assert "cannot run ctr" in ContainerdRuntime(RunDouble(absent)).complaint()
