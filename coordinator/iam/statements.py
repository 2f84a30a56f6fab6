"""Statements that several roles share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coordinator.iam.place import Place
from units.partitions import partition_of

Statement = dict[str, Any]
Condition = Mapping[str, Mapping[str, Any]]


def allow(
    sid: str, actions: str | list[str], resources: str | list[str], condition: Condition | None = None
) -> Statement:
    return _statement(sid, "Allow", actions, resources, condition)


def deny(
    sid: str, actions: str | list[str], resources: str | list[str], condition: Condition | None = None
) -> Statement:
    return _statement(sid, "Deny", actions, resources, condition)


def only_if_conditional(sid: str, resources: list[str]) -> Statement:
    """No write that would tread on what somebody else wrote meanwhile; it also stops CopyObject (trust.md 1.7)."""
    return deny(sid, "s3:PutObject", resources, {"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}})


def list_some(sid: str, place: Place, prefixes: list[str], *, missing_is_404: bool = False) -> Statement:
    """missing_is_404: S3 then also tells that an object does not exist, and the keys of the whole bucket can be listed.

    S3 answers 404 instead of 403 only to those who may list. That check may carry no prefix, hence IfExists.
    """
    operator = "StringLikeIfExists" if missing_is_404 else "StringLike"
    return allow(sid, "s3:ListBucket", place.bucket_arn, {operator: {"s3:prefix": prefixes}})


def context_of_secrets(place: Place, *, names: Sequence[str] = ()) -> Condition:
    """The encryption context that `units.envelope.Context.as_kms` makes: this cluster's, and no key more or less.

    names: patterns, of which the secret's name must be one.
    """
    wanted = {"cluster": place.cluster, "role": "control-plane", "uid": place.keys.uid, "name": None}
    known = {f"kms:EncryptionContext:{key}": value for key, value in wanted.items() if value is not None}
    present = {f"kms:EncryptionContext:{key}": "false" for key, value in wanted.items() if value is None}
    return {
        "StringEquals": known,
        "Null": present,
        **({"StringLike": {"kms:EncryptionContext:name": list(names)}} if names else {}),
        "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["cluster", "uid", "role", "name"]},
    }


def secrets_key(sid: str, place: Place, actions: str, *, names: Sequence[str] = ()) -> Iterator[Statement]:
    if place.keys.secrets is not None:
        resource, alias = key_resource(place.keys.secrets, place.region)
        yield allow(sid, actions, resource, {**context_of_secrets(place, names=names), **alias})


def signing_keys(arns: Sequence[str]) -> Iterator[Statement]:
    """Signatures of repository metadata: a digest, by ECDSA on P-256 (trust.md 1.7)."""
    if arns:
        yield allow("ReadPublicHalves", "kms:GetPublicKey", list(arns))
        yield allow(
            "SignMetadata",
            "kms:Sign",
            list(arns),
            {"StringEquals": {"kms:MessageType": "DIGEST", "kms:SigningAlgorithm": "ECDSA_SHA_256"}},
        )


def key_resource(key: str, region: str) -> tuple[str, Condition]:
    """A KMS key by ARN, id or alias, as resource and condition: IAM grants nothing on the ARN of an alias."""
    _, is_arn, name = key.rpartition(":")
    anywhere = key.rpartition(":")[0] if is_arn else f"arn:{partition_of(region)}:kms:{region}:*"
    if name.startswith("alias/"):
        return f"{anywhere}:key/*", {"ForAnyValue:StringEquals": {"kms:ResourceAliases": [name]}}
    return (key if is_arn else f"{anywhere}:key/{name}"), {}


def _statement(
    sid: str, effect: str, actions: str | list[str], resources: str | list[str], condition: Condition | None
) -> Statement:
    made: Statement = {"Sid": sid, "Effect": effect, "Action": actions, "Resource": resources}
    return {**made, "Condition": dict(condition)} if condition else made
