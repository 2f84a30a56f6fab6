"""N17 and N22: the first key wins, whichever issuer it comes to, and only for this account, region and instance."""

import json
import threading
from dataclasses import replace

import pytest

from agent.issuer.ledger import Entry, Ledger
from agent.issuer.store import records
from pki.keys import load_private_key, make_key, spki_sha256
from pki.request import CertificateRequest, build_csr
from tests.agent.issuer.attacks_on_instances import seed
from tests.agent.issuer.drafts import csrs_for, honest
from tests.agent.issuer.world import INSTANCE, NODE, CredentialsDouble, World


def ledger_of(world: World) -> Ledger:
    return Ledger(world.config, records(world.settings, world.config.region, CredentialsDouble()))


def spki_of(draft) -> str:
    return spki_sha256(load_private_key(draft.keys["kubelet-client"]).public_key())


class GetThenPut(Ledger):
    """The mutation: looks, then writes. What SPIRE's join tokens did."""

    def create(self, entry: Entry) -> bool:
        if self.read(entry.instance) is not None:
            return False
        self._records._s3.put(f"demo/{self._key(entry.instance)}", entry.model_dump_json().encode())
        return True


def race(world: World, ledger: type[Ledger]) -> list[int]:
    """Two issuers, two keys: the second comes while the first is about to write."""
    first, second = honest(world), honest(world)
    answers = []

    def issuer():
        desk = world.office().desk()
        own = ledger(world.config, desk.claims.ledger._records)
        return replace(desk, claims=replace(desk.claims, ledger=own))

    world.aws.s3.before_put.append(lambda: answers.append(issuer().answer(second.asked()).status))
    answers.append(issuer().answer(first.asked()).status)
    return sorted(answers)


def test_of_two_issuers_with_two_keys_one_wins(world) -> None:
    assert race(world, Ledger) == [200, 403]
    assert world.journal.codes == ["identity-key-changed"]
    assert len(world.record["keys"]) == 1


def test_with_a_ledger_that_looks_before_it_writes_both_would(world) -> None:
    assert race(world, GetThenPut) == [200, 200]


def test_of_many_at_once_one_wins(world) -> None:
    drafts = [honest(world) for _ in range(8)]
    requests = [draft.asked() for draft in drafts]
    offices = [world.office() for _ in drafts]
    gate, answers = threading.Barrier(len(drafts)), {}

    def ask(number: int) -> None:
        gate.wait()
        answers[number] = offices[number].answer(requests[number]).status

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(drafts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for number, status in answers.items() if status == 200]
    assert world.record["keys"] == [spki_of(drafts[winner])]
    assert sorted(answers.values()) == [200] + [403] * 7


def test_the_same_key_at_two_issuers_at_once_is_one_identity(world) -> None:
    draft = honest(world)
    answers = []
    world.aws.s3.before_put.append(lambda: answers.append(world.ask(draft.asked()).status))
    answers.append(world.ask(draft.asked()).status)
    assert answers == [200, 200]


def test_a_reset_lets_the_next_key_in_whatever_the_age_and_ends_the_former(world) -> None:
    old, new, third = honest(world), honest(world), honest(world)
    assert world.ask(old.asked()).status == 200
    world.change_instance(age=9e5, attached_age=9e5)
    world.api_server.ready[NODE] = "True"
    assert world.ask(new.asked()).status == 403
    ledger_of(world).reset(INSTANCE)
    assert world.record["open"] is True
    assert world.ask(new.asked()).status == 200
    assert (world.record["open"], world.record["keys"]) == (False, [spki_of(new)])
    assert [world.ask(each.asked()).status for each in (old, third, new)] == [403, 403, 200]


def test_a_reset_works_for_a_machine_that_never_came_and_for_a_broken_record(world) -> None:
    world.change_instance(age=9e5, attached_age=9e5)
    ledger_of(world).reset(INSTANCE)
    assert world.ask(honest(world).asked()).status == 200
    world.aws.s3.objects = dict.fromkeys(world.aws.s3.objects, b"rubbish")
    ledger_of(world).reset(INSTANCE)
    assert world.ask(honest(world).asked()).status == 200


def test_an_open_identity_goes_to_one_of_two_that_race_for_it(world) -> None:
    seed(world, "ab" * 32, opened=True)
    assert race(world, Ledger) == [200, 403]


def test_two_accounts_and_two_regions_share_no_record_and_no_rate(world) -> None:
    first = ledger_of(world)
    entry = Entry(instance=INSTANCE, node=NODE, group="workers", keys=("ab" * 32,))
    assert first.create(entry)
    assert not first.create(entry)
    for change in ({"account": "999988887777"}, {"region": "us-east-1"}):
        world_of_others = world.config.model_copy(update=change)
        other = Ledger(world_of_others, records(world.settings, "eu-west-1", CredentialsDouble()))
        assert other.read(INSTANCE) is None
        assert other.create(entry)


class Nameless(Ledger):
    """The mutation: an instance id alone is the key."""

    def _key(self, instance_id: str) -> str:
        return f"identity/{instance_id}.json"


def test_with_a_ledger_that_forgets_the_account_two_would_share_a_record(world) -> None:
    entry = Entry(instance=INSTANCE, node=NODE, group="workers", keys=("ab" * 32,))
    ours, theirs = (
        Nameless(
            world.config.model_copy(update={"account": account}),
            records(world.settings, "eu-west-1", CredentialsDouble()),
        )
        for account in ("111122223333", "999988887777")
    )
    assert ours.create(entry)
    assert theirs.read(INSTANCE) is not None


def test_the_issued_names_are_ec2s_and_not_the_csrs(world) -> None:
    """N18: a CSR that asks for the whole cluster gets a worker's certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    from pki.certificate import load_certificate

    draft = honest(world)
    names = [(NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, "kubernetes-admin")]
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in names]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("kubernetes")]), critical=False)
        .sign(load_private_key(draft.keys["kubelet-client"]), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    draft.csrs = csrs_for(draft.keys) | {
        "kubelet-client": greedy,
        "kubelet-server": build_csr(
            CertificateRequest(profile="kubelet-server", name="cp-1", ip_addresses=("10.99.0.2",)), make_key()
        ),
    }
    issued = json.loads(world.ask(draft.asked()).body)["certificates"]
    client, server = (load_certificate(issued[name].encode()) for name in ("kubelet-client", "kubelet-server"))
    assert (client.common_name, client.organizations) == (f"system:node:{NODE}", ("system:nodes",))
    assert (client.alternative_names, client.is_authority) == ((), False)
    assert server.alternative_names == (f"DNS:{NODE}", "IP:10.99.1.5")


@pytest.mark.parametrize(
    ("policy", "name"), [("private-dns", NODE), ("instance-id", INSTANCE)], ids=["private-dns", "instance-id"]
)
def test_the_node_is_called_as_the_manifest_says(world, policy, name) -> None:
    world.config = world.config.model_copy(update={"node_name": policy})
    assert world.ask(honest(world).asked()).status == 200
    assert world.marks == [(name, "workers")]


def test_a_renewal_finds_its_instance_by_either_name(world) -> None:
    from tests.agent.issuer.attacks_on_instances import renewing

    for policy, name in (("private-dns", NODE), ("instance-id", INSTANCE)):
        world.config = world.config.model_copy(update={"node_name": policy})
        draft = honest(world)
        renewing(world, draft, common_name=f"system:node:{name}")
        assert world.ask(draft.asked()).status == 200


def test_a_renewal_of_a_name_whose_address_went_to_another_machine_is_refused(world) -> None:
    """The former machine's certificate is still valid, and its name is the new machine's."""
    from tests.agent.issuer.attacks_on_instances import renewing

    former = honest(world)
    renewing(world, former)
    world.aws.s3.objects.clear()
    assert world.ask(honest(world).asked()).status == 200  # the machine that has the address now
    assert world.ask(former.asked()).status == 403
    assert world.journal.codes == ["identity-key-changed"]
