"""The worker's own resource against a real issuer: first certificates, renewal, a cut between two writes, an expiry."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pki.certificate import load_certificate, load_credential
from tests.agent.issuer.running import running
from tests.agent.issuer.workers import manifest_of, worker
from tests.agent.issuer.world import INSTANCE, NODE, World, free_port
from tests.units.machines import empty_machine, facts
from units.errors import Retryable
from units.facts import NodeFacts
from units.host import Host
from units.memory import MemoryHost
from units.node_certificates import NodeCertificates
from units.services.node_identity import node_identity

CLIENT = "/etc/kubernetes/pki/kubelet/client.pem"


def instance_facts() -> NodeFacts:
    return facts(instance_id=INSTANCE, private_dns_name=NODE, private_ip="10.99.1.5")


@contextmanager
def a_node(world: World) -> Iterator[tuple[NodeCertificates, MemoryHost, Host]]:
    memory = empty_machine()
    with running(world) as port, worker(world, port) as client:
        (resource,) = [
            each
            for each in node_identity(manifest_of(world, port), instance_facts())
            if isinstance(each, NodeCertificates)
        ]
        memory.clock.at = datetime.now(UTC)
        yield resource, memory, replace(memory.host, issuer=client)


def serial(host: Host, path: str = CLIENT) -> str:
    state = host.files.read(path)
    assert state is not None
    assert state.content is not None
    return load_credential(state.content).leaf.serial


def test_what_the_issuer_gives_is_what_the_node_wants(world: World) -> None:
    with a_node(world) as (resource, _memory, host):
        assert resource.check(host) is not None
        resource.apply(host)
        assert resource.check(host) is None
    assert world.marks == [(NODE, "workers")]


def test_where_issuers_ask_back_the_machine_itself_gets_its_certificates(world: World) -> None:
    """The attacks on N21 are in attacks_on_instances; here both halves are the product's."""
    world.asks_back("127.0.0.1", free_port())
    with a_node(world) as (resource, memory, host):
        resource.apply(host)
        before = serial(host)
        memory.clock.at += timedelta(hours=0.61 * 73)
        resource.apply(host)  # over mutual TLS: nobody asks back
        assert serial(host) != before
    assert world.journal.codes == []
    with socket.create_server(("127.0.0.1", world.config.callback_port)):
        pass  # nobody listens there any more


def test_a_port_that_something_else_has_is_said_and_nobody_is_asked(world: World) -> None:
    with socket.create_server(("", 0)) as other:
        world.asks_back("127.0.0.1", other.getsockname()[1])
        with a_node(world) as (resource, _memory, host), pytest.raises(Retryable) as caught:
            resource.apply(host)
    assert caught.value.code == "callback-port-taken"
    assert world.aws.sts.asked == []


def test_at_61_percent_of_its_life_everything_is_renewed_over_mutual_tls(world: World) -> None:
    with a_node(world) as (resource, memory, host):
        resource.apply(host)
        asked, before = len(world.aws.sts.asked), serial(host)
        memory.clock.at += timedelta(hours=0.61 * 73)
        assert resource.check(host) is not None
        resource.apply(host)
        assert serial(host) != before
        assert len(world.aws.sts.asked) == asked
        assert len(world.record["keys"]) == 2


def test_a_node_that_lost_power_before_it_wrote_its_own_certificate_goes_on_with_the_old_one(world: World) -> None:
    with a_node(world) as (resource, memory, host):
        resource.apply(host)
        old = host.files.read(CLIENT)
        memory.clock.at += timedelta(hours=0.61 * 73)
        resource.apply(host)
        host.files.write(CLIENT, old.content, mode=0o600, owner="root", group="root")  # as if it had never been written
        assert resource.check(host) is not None
        resource.apply(host)
        assert serial(host) != load_certificate(load_credential(old.content).leaf.pem).serial


def test_a_node_past_the_end_of_its_certificates_proves_itself_with_its_old_key(world: World) -> None:
    world.api_server.ready[NODE] = "False"
    with a_node(world) as (resource, memory, host):
        resource.apply(host)
        key = world.record["keys"]
        world.change_instance(age=9e5, attached_age=9e5)
        world.api_server.ready[NODE] = "True"
        memory.clock.at += timedelta(hours=80)
        resource.apply(host)
        assert world.record["keys"] == key
    assert world.journal.codes == []
