"""What each role may do, and above all what not: the policies under IAM's rules (tests/lab/region/policy.py).

One request each, with the condition keys that AWS would know of it; `tests/lab/test_region_iam.py` has whole commands.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from coordinator.iam import ROLES, Keys, Wanted, place_of, policy, profiles, trust_policy
from coordinator.iam.documents import LIMIT
from coordinator.spec import ClusterSpec, load_spec
from tests.coordinator.iam_golden import EXAMPLES, FOLDER, ONLINE, SECRETS, TARGETS, UID, cases, example
from tests.lab.region.policy import Permission, is_allowed
from units.envelope import Context
from units.errors import Invalid

SPEC, PLACE = example("ha-private")
FOLDER_ARN = "arn:aws:s3:::example-clusters/clusters/prod.example.com/"
OTHER_CLUSTER = "arn:aws:s3:::example-clusters/clusters/other.example.com/"
BUCKET = "arn:aws:s3:::example-clusters"
VPC, ADDRESS, INSTANCE = SPEC.network.vpc, "10.99.0.7", "i-0123456789abcdef0"
HASH, BACKUP = "0" * 64, "2026-01-01T00:00:00Z-7"

# What AWS knows of a request that an instance of the cluster makes through endpoints of its VPC.
ON_INSTANCE = {
    "aws:PrincipalAccount": "111122223333",
    "aws:RequestedRegion": "eu-west-1",
    "aws:ViaAWSService": "false",
    "aws:SourceVpc": VPC,
    "aws:VpcSourceIp": ADDRESS,
    "aws:UserAgent": INSTANCE,
    "aws:Ec2InstanceSourceVPC": VPC,
    "aws:Ec2InstanceSourcePrivateIPv4": ADDRESS,
    "ec2:SourceInstanceARN": f"arn:aws:ec2:eu-west-1:111122223333:instance/{INSTANCE}",
}
ELSEWHERE = {"aws:PrincipalAccount": "111122223333", "aws:RequestedRegion": "eu-west-1", "aws:ViaAWSService": "false"}
ONLY_NEW = {"s3:if-none-match": "*"}
ONLY_SEEN = {"s3:if-match": '"etag"'}
VOLUME, INSTANCES = "arn:aws:ec2:eu-west-1:111122223333:volume/vol-1", "arn:aws:ec2:eu-west-1:111122223333:instance/"
ETCD_VOLUME = {
    "aws:ResourceTag/kubernetes.io/cluster/prod.example.com": "owned",
    "aws:ResourceTag/k8s.io/etcd/main": "a/a,b,c",
}
Keyed = Mapping[str, str | tuple[str, ...]]


def may(role: str, action: str, resource: str, known: Keyed | None = None, *, tight: bool = False) -> bool:
    at = ON_INSTANCE if role in ("node", "control-plane") else ELSEWHERE
    document = policy(SPEC, PLACE, Wanted(role, through_endpoints=tight))
    return is_allowed(document["Statement"], Permission(action, resource, {**at, **(known or {})}))


def sealed(context: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
    keys = {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
    return {**keys, "kms:EncryptionContextKeys": tuple(context)}


OWN_CONTEXT = Context(cluster="prod.example.com", uid=UID, name="authority-kubernetes").as_kms()
DIGEST = {"kms:MessageType": "DIGEST", "kms:SigningAlgorithm": "ECDSA_SHA_256"}

Row = tuple[str, str, str, Keyed]
LIST, GET, PUT, DELETE = "s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
ABORT = "s3:AbortMultipartUpload"
FOR_MACHINES = ("node", "control-plane")

ALLOWED: list[Row] = [
    *((role, GET, f"{FOLDER_ARN}tuf/metadata/timestamp.json", {}) for role in ROLES if role != "restorer"),
    *((role, GET, f"{FOLDER_ARN}assets/sha256/ab/{HASH}", {}) for role in (*FOR_MACHINES, "publisher")),
    *((role, PUT, f"{FOLDER_ARN}status/{INSTANCE}.json", {}) for role in FOR_MACHINES),
    ("node", GET, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.workers.json", {}),
    ("node", GET, f"{FOLDER_ARN}halt/workers", {}),
    ("node", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/outcome/workers/7/"}),
    ("node", PUT, f"{FOLDER_ARN}outcome/workers/7/ok/{INSTANCE}", {}),
    ("control-plane", GET, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.control-plane-b.json", {}),
    ("control-plane", GET, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes.json", {}),
    ("control-plane", GET, f"{FOLDER_ARN}etcd/main/cluster.json", {}),
    ("control-plane", LIST, BUCKET, {}),  # how S3 asks before it says 404
    ("control-plane", PUT, f"{FOLDER_ARN}etcd/main/cluster.json", ONLY_NEW),
    ("control-plane", PUT, f"{FOLDER_ARN}etcd/main/cluster.json", ONLY_SEEN),
    ("control-plane", PUT, f"{FOLDER_ARN}etcd/main/backups/2026-01-01-7/snapshot", {}),
    ("control-plane", DELETE, f"{FOLDER_ARN}etcd/main/backups/2026-01-01-7/snapshot", {}),
    ("control-plane", ABORT, f"{FOLDER_ARN}etcd/main/backups/2026-01-01-7/snapshot", {}),
    ("control-plane", PUT, f"{FOLDER_ARN}identity/111122223333/eu-west-1/{INSTANCE}.json", ONLY_NEW),
    ("control-plane", "kms:Decrypt", SECRETS, sealed(OWN_CONTEXT)),
    ("control-plane", "ec2:DescribeInstances", "*", {}),
    ("control-plane", "ec2:AttachVolume", VOLUME, ETCD_VOLUME),
    ("control-plane", "ec2:AttachVolume", INSTANCES + INSTANCE, {"ec2:InstanceID": INSTANCE}),
    ("control-plane", "ec2:CreateTags", VOLUME, {**ETCD_VOLUME, "aws:TagKeys": ("bootwright.io/formatted",)}),
    ("control-plane", "ec2:DeleteTags", VOLUME, {**ETCD_VOLUME, "aws:TagKeys": ("bootwright.io/format-intent",)}),
    ("publisher", PUT, f"{FOLDER_ARN}tuf/metadata/7.targets.json", ONLY_NEW),
    ("publisher", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", ONLY_SEEN),
    ("publisher", PUT, f"{FOLDER_ARN}secrets/control-plane/authority-etcd.json", ONLY_NEW),
    ("publisher", PUT, f"{FOLDER_ARN}assets/sha256/ab/{HASH}", {}),
    ("publisher", "kms:Sign", TARGETS, DIGEST),
    ("publisher", "kms:Sign", ONLINE, DIGEST),
    ("publisher", "kms:GenerateDataKey", SECRETS, sealed(OWN_CONTEXT)),
    ("refresher", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", ONLY_SEEN),
    ("refresher", PUT, f"{FOLDER_ARN}tuf/metadata/9.snapshot.json", ONLY_NEW),
    ("refresher", "kms:Sign", ONLINE, DIGEST),
    ("on-call", PUT, f"{FOLDER_ARN}halt/workers", {}),
    ("on-call", DELETE, f"{FOLDER_ARN}halt/workers", {}),
    ("on-call", GET, f"{FOLDER_ARN}halt/workers", {}),
    ("on-call", GET, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.workers.json", {}),
    ("on-call", GET, f"{FOLDER_ARN}status/{INSTANCE}.json", {}),
    ("on-call", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/halt/"}),
    ("on-call", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/outcome/workers/7/"}),
    ("on-call", "ec2:DescribeInstances", "*", {}),
    ("administrator", GET, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes.json", {}),
    ("administrator", "kms:Decrypt", SECRETS, sealed(OWN_CONTEXT)),
    ("administrator", GET, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes-0a1b2c3d.json", {}),
    ("administrator", "kms:Decrypt", SECRETS, sealed({**OWN_CONTEXT, "name": "authority-kubernetes-0a1b2c3d"})),
    ("restorer", GET, f"{FOLDER_ARN}etcd/main/cluster.json", {}),
    ("restorer", GET, f"{FOLDER_ARN}etcd/events/backups/{BACKUP}/meta.json", {}),
    ("restorer", GET, f"{FOLDER_ARN}etcd/main/backups/{BACKUP}/verified.json", {}),
    ("restorer", GET, f"{FOLDER_ARN}status/{INSTANCE}.json", {}),
    ("restorer", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/etcd/main/backups/"}),
    ("restorer", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/status/"}),
    ("restorer", PUT, f"{FOLDER_ARN}etcd/main/cluster.json", ONLY_SEEN),
    ("publisher", PUT, f"{FOLDER_ARN}halt/workers", {}),
    ("publisher", DELETE, f"{FOLDER_ARN}halt/workers", {}),
    ("publisher", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/outcome/workers/7/"}),
    ("publisher", "ec2:DescribeInstances", "*", {}),
    (
        "publisher",
        "ec2:GetConsoleOutput",
        INSTANCES + INSTANCE,
        {"aws:ResourceTag/kubernetes.io/cluster/prod.example.com": "owned"},
    ),
]

REFUSED: list[Row] = [
    # Nobody: other clusters, whatever it is.
    *(
        (role, action, f"{OTHER_CLUSTER}tuf/metadata/timestamp.json", ONLY_SEEN)
        for role in ROLES
        for action in (GET, PUT)
    ),
    *((role, DELETE, f"{FOLDER_ARN}tuf/metadata/1.root.json", {}) for role in ROLES),
    *((role, DELETE, f"{FOLDER_ARN}etcd/main/cluster.json", {}) for role in ROLES),
    *((role, "s3:PutBucketPolicy", BUCKET, {}) for role in ROLES),
    *((role, "iam:PassRole", "arn:aws:iam::111122223333:role/control-plane.prod.example.com", {}) for role in ROLES),
    *((role, "kms:Decrypt", SECRETS, sealed(OWN_CONTEXT)) for role in ("node", "publisher", "refresher")),
    *((role, "kms:Sign", SECRETS, DIGEST) for role in ROLES),
    *((role, "kms:Sign", TARGETS, DIGEST) for role in ROLES if role != "publisher"),
    # A worker.
    ("node", GET, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.control-plane-a.json", {}),
    ("node", GET, f"{FOLDER_ARN}tuf/targets/{HASH}.cluster.json", {}),
    ("node", GET, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes.json", {}),
    ("node", GET, f"{FOLDER_ARN}etcd/main/cluster.json", {}),
    ("node", GET, f"{FOLDER_ARN}identity/111122223333/eu-west-1/{INSTANCE}.json", {}),
    ("node", PUT, f"{FOLDER_ARN}identity/111122223333/eu-west-1/{INSTANCE}.json", ONLY_NEW),
    ("node", GET, f"{FOLDER_ARN}status/{INSTANCE}.json", {}),
    ("node", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", ONLY_SEEN),
    ("node", PUT, f"{FOLDER_ARN}halt/workers", {}),
    # Another node's reports, whoever it says it is; and its own, if it does not say so.
    *(
        (role, PUT, f"{FOLDER_ARN}{key}", {"aws:UserAgent": said})
        for role, group in (("node", "workers"), ("control-plane", "control-plane-a"))
        for key in ("status/i-2.json", f"outcome/{group}/7/ok/i-2")
        for said in (INSTANCE, "i-2", "*", "i-?", "${aws:UserAgent}", "")
    ),
    *(
        (role, PUT, f"{FOLDER_ARN}status/{INSTANCE}.json", {"aws:UserAgent": "bootwright-agent"})
        for role in FOR_MACHINES
    ),
    ("node", PUT, f"{FOLDER_ARN}status/everybody.json", {"aws:UserAgent": "everybody"}),
    ("node", PUT, f"{FOLDER_ARN}outcome/control-plane-a/7/failed/{INSTANCE}", {}),
    ("node", LIST, BUCKET, {}),
    ("node", LIST, BUCKET, {"s3:prefix": ""}),
    ("node", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/status/"}),
    ("node", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/outcome/control-plane-a/"}),
    ("node", "ec2:DescribeInstances", "*", {}),
    ("node", "ec2:AttachVolume", VOLUME, ETCD_VOLUME),
    # A control-plane machine.
    ("control-plane", GET, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.workers.json", {}),
    ("control-plane", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", ONLY_SEEN),
    ("control-plane", PUT, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.control-plane-a.json", ONLY_NEW),
    ("control-plane", PUT, f"{FOLDER_ARN}assets/sha256/ab/{HASH}", {}),
    ("control-plane", PUT, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes.json", ONLY_SEEN),
    ("control-plane", PUT, f"{FOLDER_ARN}etcd/main/cluster.json", {}),
    ("control-plane", PUT, f"{FOLDER_ARN}identity/111122223333/eu-west-1/{INSTANCE}.json", {}),
    ("control-plane", ABORT, f"{FOLDER_ARN}assets/sha256/ab/{HASH}", {}),
    *((role, ABORT, f"{FOLDER_ARN}etcd/main/backups/7/snapshot", {}) for role in ROLES if role != "control-plane"),
    ("control-plane", "s3:DeleteObjectVersion", f"{FOLDER_ARN}etcd/main/backups/2026-01-01-7/snapshot", {}),
    ("control-plane", LIST, BUCKET, {"s3:prefix": "clusters/other.example.com/"}),
    ("control-plane", "kms:Decrypt", SECRETS, {}),
    ("control-plane", "kms:Decrypt", SECRETS, sealed({**OWN_CONTEXT, "cluster": "other.example.com"})),
    ("control-plane", "kms:Decrypt", SECRETS, sealed({**OWN_CONTEXT, "uid": "of a namesake"})),
    ("control-plane", "kms:Decrypt", SECRETS, sealed({**OWN_CONTEXT, "role": "node"})),
    ("control-plane", "kms:Decrypt", SECRETS, sealed({**OWN_CONTEXT, "more": "than ours"})),
    ("control-plane", "kms:Decrypt", SECRETS, sealed({k: v for k, v in OWN_CONTEXT.items() if k != "name"})),
    ("control-plane", "kms:Decrypt", TARGETS, sealed(OWN_CONTEXT)),
    ("control-plane", "kms:GenerateDataKey", SECRETS, sealed(OWN_CONTEXT)),
    ("control-plane", "kms:CreateGrant", SECRETS, {"kms:GrantIsForAWSResource": "true"}),
    ("control-plane", "ec2:AttachVolume", INSTANCES + "i-2", {"ec2:InstanceID": "i-2"}),
    ("control-plane", "ec2:AttachVolume", VOLUME, {}),
    ("control-plane", "ec2:DetachVolume", VOLUME, {"aws:ResourceTag/kubernetes.io/cluster/prod.example.com": "owned"}),
    (
        "control-plane",
        "ec2:DetachVolume",
        VOLUME,
        {"aws:ResourceTag/kubernetes.io/cluster/other.example.com": "owned", "aws:ResourceTag/k8s.io/etcd/main": "a/a"},
    ),
    ("control-plane", "ec2:CreateTags", VOLUME, {**ETCD_VOLUME, "aws:TagKeys": ("k8s.io/etcd/main",)}),
    ("control-plane", "ec2:CreateTags", VOLUME, ETCD_VOLUME),
    (
        "control-plane",
        "ec2:CreateTags",
        INSTANCES + INSTANCE,
        {"ec2:InstanceID": INSTANCE, "aws:TagKeys": ("bootwright.io/group",)},
    ),
    ("control-plane", "ec2:DeleteTags", VOLUME, {**ETCD_VOLUME, "aws:TagKeys": ("bootwright.io/formatted",)}),
    ("control-plane", "ec2:TerminateInstances", INSTANCES + INSTANCE, {"ec2:InstanceID": INSTANCE}),
    ("control-plane", "ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-central-1"}),
    # Whoever publishes.
    ("publisher", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", {}),
    ("publisher", PUT, f"{FOLDER_ARN}secrets/control-plane/authority-etcd.json", {}),
    ("publisher", PUT, f"{FOLDER_ARN}etcd/main/cluster.json", ONLY_SEEN),
    ("publisher", PUT, f"{FOLDER_ARN}status/{INSTANCE}.json", {}),
    ("publisher", "ec2:GetConsoleOutput", INSTANCES + INSTANCE, {}),
    ("publisher", "ec2:TerminateInstances", INSTANCES + INSTANCE, {}),
    ("publisher", DELETE, f"{FOLDER_ARN}outcome/workers/7/failed/{INSTANCE}", {}),
    ("publisher", DELETE, f"{FOLDER_ARN}assets/sha256/ab/{HASH}", {}),
    ("publisher", LIST, BUCKET, {"s3:prefix": "clusters/other.example.com/"}),
    ("publisher", "kms:Sign", TARGETS, {**DIGEST, "kms:MessageType": "RAW"}),
    ("publisher", "kms:GenerateDataKey", SECRETS, sealed({**OWN_CONTEXT, "cluster": "other.example.com"})),
    # The refresher: nothing but freshness.
    ("refresher", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", {}),
    ("refresher", PUT, f"{FOLDER_ARN}tuf/metadata/2.root.json", ONLY_NEW),
    ("refresher", PUT, f"{FOLDER_ARN}tuf/metadata/9.targets.json", ONLY_NEW),
    ("refresher", PUT, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.workers.json", ONLY_NEW),
    ("refresher", GET, f"{FOLDER_ARN}tuf/targets/groups/{HASH}.workers.json", {}),
    ("refresher", GET, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes.json", {}),
    ("refresher", GET, f"{FOLDER_ARN}status/{INSTANCE}.json", {}),
    ("refresher", "kms:GenerateDataKey", SECRETS, sealed(OWN_CONTEXT)),
    # Whoever is on call stops rollouts, and nothing else.
    ("on-call", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", ONLY_SEEN),
    ("on-call", PUT, f"{FOLDER_ARN}status/{INSTANCE}.json", {}),
    ("on-call", PUT, f"{FOLDER_ARN}outcome/workers/7/ok/{INSTANCE}", {}),
    ("on-call", DELETE, f"{FOLDER_ARN}outcome/workers/7/failed/{INSTANCE}", {}),
    ("on-call", GET, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes.json", {}),
    ("on-call", GET, f"{FOLDER_ARN}assets/sha256/ab/{HASH}", {}),
    ("on-call", "kms:Sign", ONLINE, DIGEST),
    ("on-call", "ec2:TerminateInstances", INSTANCES + INSTANCE, {}),
    # The administrator opens one secret, and writes nothing.
    ("administrator", GET, f"{FOLDER_ARN}secrets/control-plane/service-account.json", {}),
    ("administrator", "kms:Decrypt", SECRETS, sealed({**OWN_CONTEXT, "name": "service-account"})),
    ("administrator", PUT, f"{FOLDER_ARN}tuf/metadata/timestamp.json", ONLY_SEEN),
    # Whoever restores sees no secret, destroys no backup, and forges none.
    ("restorer", GET, f"{FOLDER_ARN}etcd/main/backups/{BACKUP}/snapshot.db", {}),
    ("restorer", GET, f"{FOLDER_ARN}tuf/metadata/timestamp.json", {}),
    ("restorer", GET, f"{FOLDER_ARN}secrets/control-plane/authority-kubernetes.json", {}),
    ("restorer", PUT, f"{FOLDER_ARN}etcd/main/cluster.json", {}),
    ("restorer", PUT, f"{FOLDER_ARN}etcd/main/cluster.json", ONLY_NEW),
    ("restorer", PUT, f"{FOLDER_ARN}etcd/main/members/a.json", ONLY_SEEN),
    *(
        ("restorer", action, f"{FOLDER_ARN}etcd/main/backups/{BACKUP}/{file}", ONLY_SEEN)
        for action in (PUT, DELETE, "s3:DeleteObjectVersion")
        for file in ("snapshot.db", "meta.json", "verified.json")
    ),
    ("restorer", PUT, f"{FOLDER_ARN}status/{INSTANCE}.json", {}),
    ("restorer", LIST, BUCKET, {"s3:prefix": "clusters/prod.example.com/tuf/"}),
    ("restorer", "kms:Decrypt", SECRETS, sealed(OWN_CONTEXT)),
]


def _named(row: Row) -> str:
    role, action, resource, known = row
    return " ".join([role, action, resource.removeprefix(FOLDER_ARN).replace(HASH, "HASH"), *known])


@pytest.mark.parametrize("row", ALLOWED, ids=_named)
def test_a_role_may_do_its_work(row: Row) -> None:
    assert may(*row)


@pytest.mark.parametrize("row", REFUSED, ids=_named)
def test_a_role_may_do_nothing_else(row: Row) -> None:
    assert not may(*row)


WORK = (GET, f"{FOLDER_ARN}tuf/metadata/timestamp.json")


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in ON_INSTANCE.items() if name not in names}


def allowed_with(role: str, known: Mapping[str, str], *, tight: bool = False) -> bool:
    document = policy(SPEC, PLACE, Wanted(role, through_endpoints=tight))
    return is_allowed(document["Statement"], Permission(*WORK, known))


@pytest.mark.parametrize("role", FOR_MACHINES)
def test_a_machines_role_is_worth_nothing_to_whoever_assumes_it(role: str) -> None:
    assert allowed_with(role, ON_INSTANCE)
    assumed = without("ec2:SourceInstanceARN", "aws:Ec2InstanceSourceVPC", "aws:Ec2InstanceSourcePrivateIPv4")
    assert not allowed_with(role, assumed)
    assert not allowed_with(role, {**ON_INSTANCE, "aws:Ec2InstanceSourceVPC": "vpc-of-somebody-else"})


@pytest.mark.parametrize("role", FOR_MACHINES)
def test_a_policy_attached_later_does_not_work_outside_the_vpc_either(role: str) -> None:
    extra = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    statements = [*policy(SPEC, PLACE, Wanted(role))["Statement"], extra]
    assert is_allowed(statements, Permission("s3:GetObject", "anything", ON_INSTANCE))
    assert not is_allowed(statements, Permission("s3:GetObject", "anything", ELSEWHERE))


@pytest.mark.parametrize("role", FOR_MACHINES)
def test_with_endpoints_stolen_credentials_work_nowhere_else(role: str) -> None:
    over_the_internet = without("aws:SourceVpc", "aws:VpcSourceIp")
    neighbour = {**ON_INSTANCE, "aws:VpcSourceIp": "10.99.0.8"}
    other_vpc = {**ON_INSTANCE, "aws:SourceVpc": "vpc-of-the-thief"}
    assert allowed_with(role, ON_INSTANCE, tight=True)
    for stolen in (over_the_internet, neighbour, other_vpc):
        assert not allowed_with(role, stolen, tight=True)
        assert allowed_with(role, stolen), "without endpoints AWS cannot tell"


def test_ebs_may_ask_kms_on_behalf_of_a_machine() -> None:
    """EC2's call to KMS comes from no VPC of ours."""
    via_ec2 = {
        **ELSEWHERE,
        "aws:ViaAWSService": "true",
        "kms:ViaService": "ec2.eu-west-1.amazonaws.com",
        "kms:GrantIsForAWSResource": "true",
    }
    statements = policy(SPEC, PLACE, Wanted("control-plane", through_endpoints=True))["Statement"]
    assert is_allowed(statements, Permission("kms:CreateGrant", SECRETS, via_ec2))
    assert not is_allowed(
        statements, Permission("kms:CreateGrant", SECRETS, {**via_ec2, "kms:GrantIsForAWSResource": "false"})
    )


def test_a_cluster_with_keys_in_files_asks_kms_for_nothing() -> None:
    spec, place = example("minimal")
    for role in ROLES:
        assert "kms:" not in json.dumps(policy(spec, place, Wanted(role)))


def test_before_init_a_context_must_name_some_cluster_id() -> None:
    place = replace(PLACE, keys=Keys(secrets=SECRETS))
    statements = policy(SPEC, place, Wanted("control-plane"))["Statement"]
    context = sealed(OWN_CONTEXT)
    assert is_allowed(statements, Permission("kms:Decrypt", SECRETS, {**ON_INSTANCE, **context}))
    nameless = sealed({name: value for name, value in OWN_CONTEXT.items() if name != "uid"})
    assert not is_allowed(statements, Permission("kms:Decrypt", SECRETS, {**ON_INSTANCE, **nameless}))


@pytest.mark.parametrize("name", sorted(cases()))
def test_the_goldens_are_what_is_printed_now(name: str) -> None:
    assert json.loads((FOLDER / name).read_text()) == cases()[name], "python -m tests.coordinator.iam_golden"


def test_there_is_no_golden_without_a_case() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(cases())


@pytest.mark.parametrize("name", sorted(cases()))
def test_no_statement_names_all_clusters_and_every_statement_has_a_name(name: str) -> None:
    statements = cases()[name]["Statement"]
    assert len({statement["Sid"] for statement in statements}) == len(statements)
    for statement in statements:
        assert statement["Sid"].isalnum(), "IAM takes letters and digits only"
        found = statement["Resource"]
        for resource in [found] if isinstance(found, str) else found:
            if resource == "*":
                assert statement["Effect"] == "Deny" or statement["Sid"] == "LookAround"
            elif ":s3:::" in resource and resource != PLACE.bucket_arn:
                assert ".example.com/" in resource.partition("*")[0]


def long_spec(groups: int) -> ClusterSpec:
    """Every name as long as it may be."""
    text = (EXAMPLES / "minimal" / "cluster.yaml").read_text()
    label = "a123456789" * 6
    cluster = ".".join([label[:46]] * 2) + ".example.com"
    workers = "".join(
        f"  - name: {label}{number:03}\n    role: node\n    machineType: m7g.large\n    image: ami-0a1b2c3d4e5f60718\n"
        for number in range(groups)
    )
    head, _, _ = text.partition("  - name: workers")
    return load_spec(
        (head + workers)
        .replace("minimal.example.com", cluster)
        .replace("s3://example-clusters", f"s3://{'b' * 63}/{'p' * 60}")
    )


def size_of(document: Any) -> int:
    return len("".join(json.dumps(document).split()))


@pytest.mark.parametrize("name", sorted(cases()))
def test_the_examples_policies_leave_room_for_more(name: str) -> None:
    assert size_of(cases()[name]) < LIMIT * 0.7


def test_the_longest_names_fit() -> None:
    spec = long_spec(5)
    place = place_of(spec, Keys(UID, SECRETS, (TARGETS,), (ONLINE,)))
    for role in ROLES:
        assert size_of(policy(spec, place, Wanted(role, through_endpoints=True))) <= LIMIT


def test_a_policy_that_iam_would_refuse_is_refused_with_a_way_out() -> None:
    spec = long_spec(40)
    with pytest.raises(Invalid) as caught:
        policy(spec, place_of(spec, Keys()), Wanted("node"))
    assert caught.value.code == "iam-policy-too-long"
    assert "instanceProfile" in caught.value.remedy


PROFILES = """\
  - name: gpus
    role: node
    machineType: m7g.large
    image: ami-0a1b2c3d4e5f60718
    instanceProfile: {profile}
"""


def with_group(profile: str) -> ClusterSpec:
    return load_spec((EXAMPLES / "minimal" / "cluster.yaml").read_text() + PROFILES.format(profile=profile))


def test_groups_with_profiles_of_their_own_do_not_read_each_others() -> None:
    spec = with_group("gpus.minimal.example.com")
    assert profiles(spec, "node") == {"nodes.minimal.example.com": ("workers",), "gpus.minimal.example.com": ("gpus",)}
    place = place_of(spec, Keys())
    with pytest.raises(Invalid) as caught:
        policy(spec, place, Wanted("node"))
    assert caught.value.code == "iam-profile-needed"
    document = json.dumps(policy(spec, place, Wanted("node", "gpus.minimal.example.com")))
    assert "*.gpus.json" in document
    assert "workers" not in document


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (Wanted("worker"), "iam-role-unknown"),
        (Wanted("node", "control-plane.minimal.example.com"), "iam-profile-shared"),
        (Wanted("control-plane", "control-plane.minimal.example.com"), "iam-profile-shared"),
        (Wanted("node", "nobodys"), "iam-profile-unknown"),
    ],
)
def test_what_cannot_be_answered_is_refused(wanted: Wanted, code: str) -> None:
    spec = with_group("control-plane.minimal.example.com")
    with pytest.raises(Invalid) as caught:
        policy(spec, place_of(spec, Keys()), wanted)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("region", "partition", "service"),
    [
        ("eu-west-1", "aws", "ec2.amazonaws.com"),
        ("cn-north-1", "aws-cn", "ec2.amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "ec2.amazonaws.com"),
    ],
)
def test_arns_are_those_of_the_regions_partition(region: str, partition: str, service: str) -> None:
    spec, place = example("minimal")
    place = replace(place, region=region)
    document = json.dumps(policy(spec, place, Wanted("control-plane")))
    assert document.count("arn:") == document.count(f"arn:{partition}:")
    assert trust_policy(place)["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    ]


def test_a_key_by_alias_is_matched_by_its_alias() -> None:
    """IAM grants nothing on the ARN of an alias."""
    alias = "arn:aws:kms:eu-west-1:111122223333:alias/clusters"
    statements = policy(SPEC, replace(PLACE, keys=Keys(UID, alias)), Wanted("control-plane"))["Statement"]
    known = {**ON_INSTANCE, **sealed(OWN_CONTEXT)}
    named = Permission("kms:Decrypt", SECRETS, {**known, "kms:ResourceAliases": ("alias/clusters", "alias/old")})
    assert is_allowed(statements, named)
    other = Permission("kms:Decrypt", SECRETS, {**known, "kms:ResourceAliases": ("alias/other",)})
    assert not is_allowed(statements, other)
