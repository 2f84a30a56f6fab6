"""The kubernetes authority is replaced under a cluster in use: nobody is refused, and in the end no one trusts the old.

There is one API server, and `add` and `retire` restart it, as everybody's who reads the bundle at its start: for those
seconds nobody answers, as at every change of its flags. That is not a refusal, and the clients count it by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.lab.live import LiveNode, live_cluster
from tests.lab.rotation import Rotation
from tests.lab.scenario import GROUP, WORKERS, Scenario
from tests.lab.steady_client import ApiConnection, Experience, Refused, SteadyClient, answers

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3600)]

CALLBACK = 3989
PKI = "/etc/kubernetes/pki"
IDENTITY = f"{PKI}/kubelet/client.pem"
BUNDLE = f"{PKI}/ca/kubernetes.crt"

# Wherever a process could read it; generations and the trust cache under /var/lib/bootwright hold what was published.
LOOK = "grep -rlsF {line} /etc /run/bootwright /run/bootwright-issuer /run/credentials /var/lib/kubelet/*.* || true"


@dataclass
class Cluster:
    scenario: Scenario
    control_plane: LiveNode
    workers: list[LiveNode] = field(default_factory=list)

    @property
    def nodes(self) -> list[LiveNode]:
        return [*self.workers, self.control_plane]  # workers first: they ask an issuer that does not know yet

    def rotate(self, phase: str) -> None:
        """The phase, published, and taken by every node."""
        rotation = Rotation(self.scenario)
        rotation.publish(phase)
        rotation.confirm(self.nodes)

    def kubeconfig(self) -> str:
        """What an operator prints now."""
        return self.scenario.coordinator("kubeconfig", "--ttl", "4h", capture=True)

    def node_name(self, node: LiveNode) -> str:
        return str(self.scenario.status(node.instance_id)["node_name"])

    def identities(self, kubeconfig: str) -> dict[str, str]:
        """By node name, what tells one registration from another."""
        connection = ApiConnection(kubeconfig)
        found = connection.get()["items"]
        connection.close()
        return {node["metadata"]["name"]: node["metadata"].get("uid", "") for node in found}

    def trusted(self, node: LiveNode) -> list[str]:
        """Certificates in the bundle, each as the line in the middle that no other has."""
        return [pem.split()[5] for pem in node.sh(f"cat {BUNDLE}").split("-----BEGIN CERTIFICATE-----")[1:]]

    def scale_to(self, size: int) -> LiveNode:
        """The auto scaling group's newest machine, once it is in the cluster."""
        (self.scenario.directory / "kubeconfig").unlink(missing_ok=True)  # of before this phase
        known = self.scenario.terraform.instances_of(WORKERS)
        if not known:
            instance = self.scenario.scale_out(WORKERS)
        else:
            scaling = self.scenario.client.aws("autoscaling")
            scaling.set_desired_capacity(AutoScalingGroupName=WORKERS, DesiredCapacity=size)
            self.scenario.client.wait_until("a machine more", lambda: len(self._scaled()) == size, 120)
            (instance,) = set(self._scaled()) - set(known)
        self.scenario.wait_until_ready(instance)
        self.workers.append(LiveNode(self.scenario, instance))
        return self.workers[-1]

    def _scaled(self) -> list[str]:
        return self.scenario.terraform.instances_of(WORKERS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with live_cluster(tmp_path_factory.mktemp("ca-rotation"), edit_spec=ask_back) as scenario:
        instances = [scenario.launch(GROUP), scenario.launch(WORKERS), scenario.launch(WORKERS)]
        for instance in instances:
            scenario.wait_until_ready(instance)
        control_plane, *workers = (LiveNode(scenario, instance) for instance in instances)
        yield Cluster(scenario, control_plane, workers)


def ask_back(text: str) -> str:
    """Issuers ask at a worker's address before its first certificates (N21)."""
    return text.replace("trust:\n", f"identity:\n  callbackPort: {CALLBACK}\ntrust:\n")


def went_well(cluster: Cluster, experience: Experience, *, restarts: int, phase: str) -> None:
    print(f"{phase}: {experience}")
    assert experience.refused == []
    assert not experience.missing
    assert not experience.not_ready
    if not cluster.scenario.provided.real:  # the balancer gives up on a busy machine's real one after a second
        assert experience.outages <= restarts, experience.unanswered
        assert restarts or not experience.unanswered


def test_the_authority_is_replaced_while_clients_and_kubelets_work_and_nobody_is_refused(
    cluster: Cluster,
) -> None:
    (old,) = cluster.trusted(cluster.control_plane)
    worker = cluster.workers[0]
    before = cluster.kubeconfig()
    registered = cluster.identities(before)
    assert set(registered) == {cluster.node_name(node) for node in cluster.nodes}
    with SteadyClient(before, frozenset(registered)) as client:
        with client.during() as adding:
            cluster.rotate("add")
        went_well(cluster, adding, restarts=1, phase="add")
        both = cluster.kubeconfig()
        client.use(both)
        old_identity = worker.sh(f"cat {IDENTITY}").encode()
        with client.during() as signing:
            cluster.rotate("sign")
        went_well(cluster, signing, restarts=0, phase="sign")
        assert not answers(before)  # it cannot know the certificate that the API server shows now
        new = cluster.kubeconfig()
        assert answers(both)
        assert as_node(cluster, worker, old_identity, new)  # signed by the old authority, which is still trusted
        client.use(new)
        with client.during() as retiring:
            cluster.rotate("retire")
        went_well(cluster, retiring, restarts=1, phase="retire")
        assert cluster.identities(new) == registered
    assert answers(new)
    assert not answers(both)
    assert not as_node(cluster, worker, old_identity, new)
    assert as_node(cluster, worker, worker.sh(f"cat {IDENTITY}").encode(), new)
    for node in cluster.nodes:
        assert old not in cluster.trusted(node)
        assert node.sh(LOOK.format(line=old)) == ""


def as_node(cluster: Cluster, worker: LiveNode, credential: bytes, kubeconfig: str) -> bool:
    """Whether a machine with that certificate reads its own Node."""
    connection = ApiConnection(kubeconfig, pair=credential)
    try:
        return bool(connection.get(f"/api/v1/nodes/{cluster.node_name(worker)}"))
    except Refused:
        return False
    finally:
        connection.close()


def test_machines_that_an_auto_scaling_group_launches_between_the_phases_join(cluster: Cluster) -> None:
    """The rotation after the one above: a cluster's authority is replaced as often as anybody likes."""
    nodes = frozenset(cluster.node_name(node) for node in cluster.nodes)
    (old,) = cluster.trusted(cluster.control_plane)
    with SteadyClient(cluster.kubeconfig(), nodes) as client:
        for number, (phase, restarts) in enumerate((("add", 1), ("sign", 0)), start=1):
            with client.during() as experience:
                cluster.rotate(phase)
                joined = cluster.scale_to(number)
                client.expect(cluster.node_name(joined))
            went_well(cluster, experience, restarts=restarts, phase=f"{phase}, and a machine joins")
            assert len(cluster.trusted(joined)) == 2
            client.use(cluster.kubeconfig())
        with client.during() as experience:
            cluster.rotate("retire")
        went_well(cluster, experience, restarts=1, phase="retire")
    for node in cluster.nodes:
        assert old not in cluster.trusted(node)
        assert len(cluster.trusted(node)) == 1
