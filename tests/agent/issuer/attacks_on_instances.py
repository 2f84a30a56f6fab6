"""N13 to N18: a proven instance that is not what it should be, another key than the first, a CSR that asks for more."""

import hashlib
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki.certificate import load_credential
from pki.keys import load_private_key, make_key
from tests.agent.issuer.attacks import attack
from tests.agent.issuer.aws_doubles import PROFILE_ARN, InstanceDouble
from tests.agent.issuer.certificates import node_certificate
from tests.agent.issuer.drafts import Draft, csrs_for
from tests.agent.issuer.world import INSTANCE, NODE, RECORD, World, free_port

WEAK_CSR = Path(__file__).with_name("rsa-512.csr.pem").read_bytes()


def spki(combined: bytes) -> str:
    return load_credential(combined).leaf.spki_sha256


def seed(world: World, *keys: str, opened: bool = False) -> None:
    entry = {"v": 1, "instance": INSTANCE, "node": NODE, "group": "workers", "keys": keys, "open": opened}
    world.aws.s3.objects[RECORD] = json.dumps(entry).encode()


def renewing(world: World, draft: Draft, **subject: object) -> None:
    """With a certificate of the cluster's authority, whose key is the machine's first."""
    draft.certificate = node_certificate(world.authority, **subject)
    seed(world, spki(draft.certificate))


@attack("N13-id", "instance-unknown", told=True)
def ec2_answers_with_another_instance(world: World, draft: Draft) -> None:
    world.aws.ec2.instances[INSTANCE] = InstanceDouble("i-0bbbbbbbbbbbbbbb2", private_dns_name="other")


@attack("N13-one", "instance-unknown", told=True, status=503)
def ec2_answers_with_two_instances(world: World, draft: Draft) -> None:
    world.aws.ec2.twice = True


@attack("N13-account", "instance-wrong-account", told=True)
def an_instance_of_another_account_in_a_shared_vpc(world: World, draft: Draft) -> None:
    world.change_instance(owner="999988887777")


@attack("N13-region", "instance-wrong-region", told=True)
def an_instance_of_another_region(world: World, draft: Draft) -> None:
    world.change_instance(zone="us-east-1a")


@attack("N13-state", "instance-not-running", told=True)
def an_instance_that_is_terminated(world: World, draft: Draft) -> None:
    world.change_instance(state="terminated")


@attack("N13-state", "instance-not-running", told=True)
def an_instance_that_is_stopped(world: World, draft: Draft) -> None:
    world.change_instance(state="stopped")


@attack("N14-vpc", "instance-other-vpc", told=True)
def an_instance_of_another_vpc(world: World, draft: Draft) -> None:
    world.change_instance(vpc="vpc-0ffffffffffffffff")


@attack("N14-cluster", "instance-wrong-cluster", told=True)
def an_instance_of_another_cluster(world: World, draft: Draft) -> None:
    tags = world.instance.tagged("kubernetes.io/cluster/demo", None)
    world.change_instance(tags=(*tags, ("kubernetes.io/cluster/other", "owned")))


@attack("N14-cluster", "instance-wrong-cluster", told=True)
def a_cluster_tag_with_another_value(world: World, draft: Draft) -> None:
    world.change_instance(tags=world.instance.tagged("kubernetes.io/cluster/demo", "no"))


@attack("N14-group", "instance-wrong-group", told=True)
def an_instance_without_a_group(world: World, draft: Draft) -> None:
    world.change_instance(tags=world.instance.tagged("bootwright.io/group", None))


@attack("N14-group", "instance-wrong-group", told=True)
def an_instance_of_the_control_planes_group(world: World, draft: Draft) -> None:
    world.change_instance(tags=world.instance.tagged("bootwright.io/group", "cp-a"))


@attack("N14-profile", "instance-wrong-profile", told=True)
def a_workers_profile_with_another_groups_tag(world: World, draft: Draft) -> None:
    """ec2:CreateTags is easier to come by than iam:PassRole."""
    world.change_instance(tags=world.instance.tagged("bootwright.io/group", "gpu"))


@attack("N14-profile", "instance-wrong-profile", told=True)
def a_foreign_profile_with_the_groups_tag(world: World, draft: Draft) -> None:
    world.change_instance(profile=f"{PROFILE_ARN}path/nodes.demo")


@attack("N15-tokens", "instance-imds-v1", told=True)
def an_instance_that_still_speaks_imds_version_1(world: World, draft: Draft) -> None:
    world.change_instance(http_tokens="optional")


@attack("N15-hops", "instance-imds-hops", told=True)
def an_instance_whose_pods_reach_imds(world: World, draft: Draft) -> None:
    world.change_instance(hop_limit=2)


@attack("N18-address", "instance-no-address", told=True)
def an_instance_without_a_name(world: World, draft: Draft) -> None:
    world.change_instance(private_dns_name="")


@attack("N16-launched", "instance-too-old", told=True)
def an_instance_of_an_hour_and_a_bit(world: World, draft: Draft) -> None:
    world.change_instance(age=3700)


@attack("N16-attached", "instance-too-old", told=True)
def an_old_instance_that_was_stopped_and_started(world: World, draft: Draft) -> None:
    world.change_instance(attached_age=3700)


@attack("N21-callback", "callback-refused", told=True)
def a_token_used_from_another_machine(world: World, draft: Draft) -> None:
    """The instance itself asks for nothing: nothing listens there."""
    world.asks_back("127.0.0.1", free_port())


@attack("N21-callback", "callback-refused", told=True)
def a_token_used_from_another_machine_while_the_instance_asks_for_its_own(world: World, draft: Draft) -> None:
    world.asks_back("127.0.0.1", world.tells("ab" * 32))


@attack("N21-callback", "callback-refused", told=True)
def a_callback_answered_with_the_beginning_of_the_digest(world: World, draft: Draft) -> None:
    draft.csrs = csrs_for(draft.keys)  # or each request would have other signatures in it
    digest = hashlib.sha256(draft.asked().body).hexdigest()
    world.asks_back("127.0.0.1", world.tells(digest[:-1]))


@attack("N17-ready", "node-already-ready", told=True)
def a_node_of_that_name_is_ready(world: World, draft: Draft) -> None:
    world.api_server.ready[NODE] = "True"


@attack("N17-key", "identity-key-changed", told=True)
def a_second_key_for_the_same_instance(world: World, draft: Draft) -> None:
    seed(world, "ab" * 32)


@attack("N17-key", "identity-key-changed", told=True)
def a_renewal_with_a_certificate_that_was_handed_on_long_ago(world: World, draft: Draft) -> None:
    draft.certificate = node_certificate(world.authority)
    seed(world, "ab" * 32)


@attack("N17-record", "identity-unknown", told=True)
def a_renewal_of_a_machine_that_nobody_knows(world: World, draft: Draft) -> None:
    draft.certificate = node_certificate(world.authority)


@attack("N17-record", "identity-record-invalid", told=True)
def a_record_that_somebody_broke(world: World, draft: Draft) -> None:
    world.aws.s3.objects[RECORD] = b'{"v": 1}'


@attack("N17-record", "identity-record-invalid", told=True)
def a_record_of_another_instance_put_in_its_place(world: World, draft: Draft) -> None:
    entry = {"v": 1, "instance": "i-0bbbbbbbbbbbbbbb2", "node": NODE, "group": "workers", "keys": [], "open": True}
    world.aws.s3.objects[RECORD] = json.dumps(entry).encode()


@attack("N18-renewal-name", "certificate-refused")
def a_renewal_with_another_name_than_a_nodes(world: World, draft: Draft) -> None:
    renewing(world, draft, common_name="system:kube-proxy")


@attack("N18-renewal-organization", "certificate-refused")
def a_renewal_with_more_groups_than_a_nodes(world: World, draft: Draft) -> None:
    renewing(world, draft, organizations=("system:nodes", "system:masters"))


@attack("N18-renewal-usage", "certificate-refused")
def a_renewal_with_a_serving_certificate(world: World, draft: Draft) -> None:
    renewing(world, draft, client=False)


@attack("one-proof", "proof-malformed")
def a_certificate_and_a_token_together(world: World, draft: Draft) -> None:
    renewing(world, draft)
    draft.authorizations = lambda _: ("NodeSTS1 e30",)


@attack("N18-csr", "csr-refused", told=True)
def a_csr_that_its_key_did_not_sign(world: World, draft: Draft) -> None:
    """Somebody else's public key, with a signature of our own under it."""
    csrs = csrs_for(draft.keys)
    der = bytearray(x509.load_pem_x509_csr(csrs["kubelet-client"]).public_bytes(serialization.Encoding.DER))
    other = load_private_key(make_key()).public_key()
    own = load_private_key(draft.keys["kubelet-client"]).public_key()
    point, stranger = (
        key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        for key in (own, other)
    )
    der[der.index(point) : der.index(point) + len(point)] = stranger
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    draft.csrs = csrs | {"kubelet-client": forged}


@attack("N18-csr", "csr-refused", told=True)
def a_csr_for_an_rsa_key_of_512_bits(world: World, draft: Draft) -> None:
    draft.csrs = csrs_for(draft.keys) | {"kube-proxy": WEAK_CSR}


@attack("N18-csr", "csr-refused", told=True)
def a_csr_that_is_none(world: World, draft: Draft) -> None:
    draft.csrs = csrs_for(draft.keys) | {"kube-proxy": b"-----BEGIN CERTIFICATE REQUEST-----\n"}


@attack("N18-node-key", "csr-refused", told=True)
def a_first_request_without_the_nodes_own_key(world: World, draft: Draft) -> None:
    del draft.keys["kubelet-client"]
