"""Every kind of object in the bucket, with one bit of it flipped, and what a node calls that."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from coordinator.layout import TIMESTAMP, metadata_key
from tests.lab.bucket import StolenBucket
from tests.lab.scenario import GROUP
from units.envelope import SERVICE_ACCOUNT, authority_secret


@dataclass(frozen=True, slots=True)
class SignedFlip:
    key: Callable[[StolenBucket], str]
    behind: bytes  # a mark, see StolenBucket.flip
    code: str


@dataclass(frozen=True, slots=True)
class ContentFlip:
    name: str  # of an asset; the reference of an image, with its version left out
    resource: str
    take_away: str  # shell: so that the node needs it


@dataclass(frozen=True, slots=True)
class EnvelopeFlip:
    name: str
    field: str
    needed_by: str  # a file that the node makes with what is in the envelope
    code: str = "secret-tampered"
    skip: int = 0


SERVICE_ACCOUNT_FILE: Final = "/run/bootwright/secrets/service-account/service-account.key"
HEALTHCHECK: Final = "/etc/kubernetes/pki/etcd/healthcheck-client.pem"

SIGNED: Final = {
    "root": SignedFlip(lambda _: metadata_key("root", 1), b'"expires":"', "trust-root-pin"),
    "root, any byte": SignedFlip(lambda _: metadata_key("root", 1), b"", "trust-root-pin"),
    "timestamp": SignedFlip(lambda _: TIMESTAMP, b'"expires":"', "trust-unsigned"),
    "timestamp's signature": SignedFlip(lambda _: TIMESTAMP, b'"sig":"30', "trust-unsigned"),
    "snapshot": SignedFlip(StolenBucket.snapshot, b'"expires":"', "trust-wrong-hash"),
    "snapshot, any byte": SignedFlip(StolenBucket.snapshot, b"", "trust-wrong-hash"),
    "targets": SignedFlip(StolenBucket.targets, b'"sha256":"', "trust-unsigned"),
    "targets' signature": SignedFlip(StolenBucket.targets, b'"sig":"30', "trust-unsigned"),
    "release": SignedFlip(lambda bucket: bucket.release(GROUP), b'"kubernetes_version": "', "trust-wrong-hash"),
    "release, any byte": SignedFlip(lambda bucket: bucket.release(GROUP), b"", "trust-wrong-hash"),
}

CONTENT: Final = {
    "a binary": ContentFlip("kubelet", "asset:/usr/local/bin/kubelet", "mv /usr/local/bin/kubelet /run/lab-kubelet"),
    "an image": ContentFlip(
        "registry.k8s.io/kube-scheduler:v",
        "image:registry.k8s.io/kube-scheduler",
        "ctr --namespace k8s.io images list --quiet name~=^registry.k8s.io/kube-scheduler: "
        "| xargs -r ctr --namespace k8s.io images rm",
    ),
}

ENVELOPES: Final = {
    "the service-account key": EnvelopeFlip(SERVICE_ACCOUNT, "ciphertext", SERVICE_ACCOUNT_FILE),
    # Behind the part that names the KMS key: that one KMS calls AccessDenied, as for any key it does not know.
    "its data key": EnvelopeFlip(SERVICE_ACCOUNT, "wrappedKey", SERVICE_ACCOUNT_FILE, skip=100),
    "its context": EnvelopeFlip(SERVICE_ACCOUNT, "uid", SERVICE_ACCOUNT_FILE, code="secret-wrong-context"),
    "an authority's key": EnvelopeFlip(authority_secret("etcd-clients"), "ciphertext", HEALTHCHECK),
}
