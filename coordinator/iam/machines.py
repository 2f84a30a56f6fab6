"""What machines may do: workers, and control-plane machines, which may all that and more."""

from collections.abc import Iterator, Sequence
from typing import Any

from coordinator.iam.place import Place
from coordinator.iam.statements import Statement, allow, deny, key_resource, list_some, only_if_conditional, secrets_key
from coordinator.layout import GROUPS, METADATA, TARGETS
from units.envelope import object_key

# AWS is asked by AWS itself on behalf of a machine (EBS asks KMS for a volume's key), from no VPC of ours.
_ASKED_BY_THE_MACHINE = {"BoolIfExists": {"aws:ViaAWSService": "false"}}
_TAGS = ["bootwright.io/format-intent", "bootwright.io/formatted"]  # agent/aws/volumes.py


def worker(place: Place, groups: Sequence[str], *, through_endpoints: bool) -> Iterator[Statement]:
    yield from _against_theft(place, through_endpoints=through_endpoints)
    yield allow("ReadSigned", "s3:GetObject", place.objects(*_signed(groups)))
    yield list_some("ListMarkersOfOwnGroups", place, place.listed(*_listed(groups)))
    yield from _own_reports(place, groups)


def control_plane(place: Place, groups: Sequence[str], *, through_endpoints: bool) -> Iterator[Statement]:
    read = [*_signed(groups), object_key("*"), "etcd/*", "identity/*"]
    yield from _against_theft(place, through_endpoints=through_endpoints)
    yield allow("ReadSignedAndSealed", "s3:GetObject", place.objects(*read))
    # "There is no record yet" is the beginning of a cluster, and of every worker: it must not look like a refusal.
    listed = place.listed(*_listed(groups), "etcd/*", "identity/*")
    yield list_some("ListMarkersAndRecords", place, listed, missing_is_404=True)
    yield from _own_reports(place, groups)
    yield allow("WriteRecordsAndBackups", "s3:PutObject", place.objects("etcd/*", "identity/*"))
    yield allow("GiveUpUploads", "s3:AbortMultipartUpload", place.objects("etcd/*/backups/*"))
    yield allow("RetireBackups", "s3:DeleteObject", place.objects("etcd/*/backups/*"))
    yield only_if_conditional("NeverOverwriteUnseen", place.objects("etcd/*/cluster.json", "identity/*"))
    # Without that record a lost volume would look like a new cluster. No statement allows it; this outlasts others'.
    yield deny(
        "NeverForgetTheCluster", ["s3:DeleteObject", "s3:DeleteObjectVersion"], place.objects("etcd/*/cluster.json")
    )
    yield from secrets_key("OpenSecrets", place, "kms:Decrypt")
    yield from _volumes(place)


def _signed(groups: Sequence[str]) -> Iterator[str]:
    yield f"{METADATA}*"
    yield "assets/*"
    for group in groups:
        # A group's name has no dot, so no other group's file ends so; before it stands the hash of the content.
        yield f"{TARGETS}{GROUPS}*.{group}.json"
        yield f"halt/{group}"


def _listed(groups: Sequence[str]) -> Iterator[str]:
    for group in groups:
        yield f"halt/{group}"
        yield f"outcome/{group}/*"


def _own_reports(place: Place, groups: Sequence[str]) -> Iterator[Statement]:
    """IAM has no variable that is an instance id. So the agent says it, as User-Agent, and it must be both: the name of
    the object, and the end of the ARN that AWS itself knows. StringEquals: no wildcard that is said can match.
    """
    said = "${aws:UserAgent}"
    keys = [f"status/{said}.json", *(f"outcome/{group}/*/{said}" for group in groups)]
    arn = f"arn:{place.partition}:ec2:{place.region}:${{aws:PrincipalAccount}}:instance/{said}"
    itself = {"StringEquals": {"ec2:SourceInstanceARN": arn}}
    yield allow("ReportOnItselfOnly", "s3:PutObject", place.objects(*keys), itself)


def _against_theft(place: Place, *, through_endpoints: bool) -> Iterator[Statement]:
    """Credentials work only if EC2 gave them to an instance of this VPC; a person who assumes the role can do nothing.

    through_endpoints: also only from that instance's own address, which AWS knows of requests through VPC endpoints.
    """
    yield deny(
        "OnlyInstancesOfThisVpc",
        "*",
        "*",
        {"StringNotEquals": {"aws:Ec2InstanceSourceVPC": place.vpc}, **_ASKED_BY_THE_MACHINE},
    )
    if through_endpoints:
        yield deny(
            "OnlyThroughEndpointsOfThisVpc",
            "*",
            "*",
            {"StringNotEquals": {"aws:SourceVpc": place.vpc}, **_ASKED_BY_THE_MACHINE},
        )
        yield deny(
            "OnlyFromTheInstanceItself",
            "*",
            "*",
            {"StringNotEquals": {"aws:Ec2InstanceSourcePrivateIPv4": "${aws:VpcSourceIp}"}, **_ASKED_BY_THE_MACHINE},
        )


def _volumes(place: Place) -> Iterator[Statement]:
    here = {"aws:RequestedRegion": place.region}
    yield allow("LookAround", ["ec2:DescribeInstances", "ec2:DescribeVolumes"], "*", {"StringEquals": here})
    moves = ["ec2:AttachVolume", "ec2:DetachVolume"]
    arn = f"arn:{place.partition}:ec2:{place.region}:${{aws:PrincipalAccount}}:instance/${{ec2:InstanceID}}"
    yield allow("AttachToItselfOnly", moves, place.ec2("instance"), {"StringEquals": {"ec2:SourceInstanceARN": arn}})
    for etcd in place.etcd:
        named = etcd.capitalize()
        yield allow(f"MoveVolumesOf{named}", moves, place.ec2("volume"), _volume_of(place, etcd))
        for sid, action, tags in (("Record", "Create", _TAGS), ("Clear", "Delete", _TAGS[:1])):
            condition: dict[str, dict[str, Any]] = {
                "StringEquals": _owned(place),
                "Null": {**_tagged(etcd), "aws:TagKeys": "false"},
                "ForAllValues:StringEquals": {"aws:TagKeys": tags},
            }
            yield allow(f"{sid}FormatOf{named}", f"ec2:{action}Tags", place.ec2("volume"), condition)
    for number, key in enumerate(place.volume_keys, start=1):
        yield from _encrypted(place, key, number)


def _volume_of(place: Place, etcd: str) -> dict[str, dict[str, str]]:
    """Both tags: volumes of pods carry the cluster's, too."""
    return {"StringEquals": _owned(place), "Null": _tagged(etcd)}


def _owned(place: Place) -> dict[str, str]:
    return {f"aws:ResourceTag/kubernetes.io/cluster/{place.cluster}": "owned"}


def _tagged(etcd: str) -> dict[str, str]:
    return {f"aws:ResourceTag/k8s.io/etcd/{etcd}": "false"}


def _encrypted(place: Place, key: str, number: int) -> Iterator[Statement]:
    """Whoever attaches a volume under a key of their own must let EC2 use it (EBS user guide, "CreateGrant")."""
    resource, alias = key_resource(key, place.region)
    through_ec2 = {"StringLike": {"kms:ViaService": f"ec2.{place.region}.amazonaws.com*"}}  # China adds .cn
    granted = {**through_ec2, "Bool": {"kms:GrantIsForAWSResource": "true"}, **alias}
    yield allow(f"LetEbsOpenVolumes{number}", "kms:CreateGrant", resource, granted)
    yield allow(f"OpenVolumes{number}", "kms:Decrypt", resource, {**through_ec2, **alias})
