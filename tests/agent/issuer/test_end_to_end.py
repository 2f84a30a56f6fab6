"""A worker gets its certificates from an issuer: both real, with TLS between them, and signatures that are checked."""

from datetime import timedelta

import pytest

from pki.certificate import combine, load_certificate
from pki.keys import make_key
from tests.agent.issuer.drafts import csrs_for
from tests.agent.issuer.running import running
from tests.agent.issuer.workers import worker
from tests.agent.issuer.world import INSTANCE, NODE
from units.errors import Retryable

PROFILES = ("kubelet-client", "kubelet-server", "kube-proxy")


def fresh() -> dict:
    return {profile: make_key() for profile in PROFILES}


def test_a_new_worker_gets_all_its_certificates_in_one_request(world) -> None:
    with running(world) as port, worker(world, port) as client:
        issued = client.issue(csrs_for(fresh()), None)
    leaves = {profile: load_certificate(pem) for profile, pem in issued.items()}
    kubelet, server, proxy = (leaves[profile] for profile in PROFILES)
    assert (kubelet.common_name, kubelet.organizations, kubelet.usages) == (
        f"system:node:{NODE}",
        ("system:nodes",),
        ("client",),
    )
    assert kubelet.alternative_names == ()
    assert (server.common_name, server.usages) == (f"system:node:{NODE}", ("server",))
    assert server.alternative_names == (f"DNS:{NODE}", "IP:10.99.1.5")
    assert (proxy.common_name, proxy.organizations, proxy.usages) == ("system:kube-proxy", (), ("client",))
    assert all(leaf.lifetime == timedelta(hours=73) for leaf in leaves.values())  # 72, and an hour back
    assert world.marks == [(NODE, "workers")]
    assert world.record["instance"] == INSTANCE


def test_a_worker_renews_with_its_certificate_and_a_new_key_and_may_come_with_the_old_one_again(world) -> None:
    with running(world) as port, worker(world, port) as client:
        first = fresh()
        old = combine(client.issue(csrs_for(first), None)["kubelet-client"], first["kubelet-client"])
        world.change_instance(age=9e5, attached_age=9e5)  # age matters at the first issue only
        world.api_server.ready[NODE] = "True"  # and so does this
        asked = len(world.aws.sts.asked)
        second = fresh()
        new = combine(client.issue(csrs_for(second), old)["kubelet-client"], second["kubelet-client"])
        client.issue(csrs_for(fresh()), old)  # the first answer was lost: nobody is locked out
        assert len(world.aws.sts.asked) == asked
        with pytest.raises(Retryable) as lost:
            client.issue(csrs_for(fresh()), new)  # of the answer that was lost
        assert lost.value.code == "identity-key-changed"
        third = fresh()
        newer = combine(client.issue(csrs_for(third), old)["kubelet-client"], third["kubelet-client"])
        client.issue(csrs_for(fresh()), newer)
        with pytest.raises(Retryable) as gone:
            client.issue(csrs_for(fresh()), old)  # the new one has been used: the old one is history
        assert gone.value.code == "identity-key-changed"


def test_a_renewal_may_ask_for_less_than_the_nodes_own_certificate(world) -> None:
    with running(world) as port, worker(world, port) as client:
        keys = fresh()
        held = combine(client.issue(csrs_for(keys), None)["kubelet-client"], keys["kubelet-client"])
        before = world.record
        issued = client.issue(csrs_for({"kube-proxy": make_key()}), held)
    assert set(issued) == {"kube-proxy"}
    assert world.record == before


def test_a_machine_that_lost_its_certificate_but_not_its_key_proves_itself_again_at_any_age(world) -> None:
    with running(world) as port, worker(world, port) as client:
        keys = fresh()
        client.issue(csrs_for(keys), None)
        world.change_instance(age=9e5, attached_age=9e5)
        world.api_server.ready[NODE] = "True"
        assert set(client.issue(csrs_for(keys), None)) == set(PROFILES)
