"""`coordinator init`."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import note, say, show_table, warn

if TYPE_CHECKING:
    from coordinator.founding import Founded, FoundingRequest, FoundingTools
    from coordinator.location import Cluster

HELP = """Make a cluster's signing keys, certificate authorities and first signed state. Once per cluster.

Private keys are never written in the clear: signing keys are files under a passphrase (or stay in KMS), and what nodes
need is sealed in the store. Stopped half way, run it again: it goes on where it was and makes nothing twice.

\b
Examples:
  coordinator init -f cluster.yaml --create-bucket
  coordinator init -f cluster.yaml --root-keys 3 --threshold 2 --kms arn:aws:kms:eu-west-1:111122223333:key/1234abcd
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Make a cluster's keys and first signed state, once.")(init)


def init(
    *,
    file: File = None,
    create_bucket: Annotated[
        bool, typer.Option("--create-bucket", help="Make the bucket: versioned, no public access, TLS only.")
    ] = False,
    root_keys: Annotated[
        int | None, typer.Option("--root-keys", help="How many root keys to make. 2-of-3 is recommended.")
    ] = None,
    threshold: Annotated[
        int | None, typer.Option("--threshold", help="How many of them must sign a new root. The spec's if left out.")
    ] = None,
    kms: Annotated[
        str | None, typer.Option("--kms", help="Seal secrets under this symmetric KMS key.", metavar="ARN")
    ] = None,
    local_key: Annotated[
        bool, typer.Option("--local-key", help="Seal secrets under a key file: for those without KMS.")
    ] = False,
    targets_key: Annotated[
        str | None, typer.Option("--targets-key", help="A P-256 KMS key that signs content.", metavar="awskms:ARN")
    ] = None,
    online_key: Annotated[
        str | None, typer.Option("--online-key", help="A P-256 KMS key that signs freshness.", metavar="awskms:ARN")
    ] = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.founding import LOCAL, FoundingRequest, found_cluster
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.root_keys import make_key_plan
    from coordinator.state import Lifetimes

    if kms and local_key:
        raise typer.BadParameter("--kms and --local-key exclude each other")
    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    trust = here.spec.trust if here.spec else None
    request = FoundingRequest(
        cluster=here.name,
        keys=make_key_plan(
            root_keys=root_keys,
            threshold=threshold if threshold is not None else trust.root_threshold if trust else 1,
            targets=targets_key,
            online=online_key,
        ),
        secrets_key=_kms_uri(kms) if kms else LOCAL if local_key or not trust else trust.secrets_key,
        lifetimes=Lifetimes(**trust.expiry_days.model_dump()) if trust else Lifetimes(),
        by=operator_name(),
    )
    _prepare_bucket(here, create=create_bucket)
    founded = found_cluster(request, _tools(here))
    _show(here, request, founded)


def _kms_uri(kms: str) -> str:
    return kms if kms.startswith("awskms:") else f"awskms:{kms}"


def _prepare_bucket(here: "Cluster", *, create: bool) -> None:
    from coordinator.aws import bucket
    from units.errors import Invalid

    if here.bucket is None:
        return
    if create:
        for step in bucket.create_bucket(here.aws, here.bucket):
            say(step)
    elif not bucket.bucket_exists(here.aws, here.bucket):
        raise Invalid(
            "bucket-missing",
            f"the bucket {here.bucket!r} does not exist",
            remedy="add --create-bucket, or correct `store` in the spec",
        )
    elif not bucket.is_versioned(here.aws, here.bucket):
        warn(f"bucket {here.bucket} keeps no versions: what is deleted is gone; --create-bucket turns versioning on")


def _tools(here: "Cluster") -> "FoundingTools":
    from coordinator.aws import kms
    from coordinator.founding import LOCAL, FoundingTools
    from coordinator.passphrase import Passphrase
    from coordinator.repository import utc_now
    from coordinator.secrets_key import KmsSecretsKey, LocalSecretsKey, SecretsKey, make_local_key, open_local_key

    passphrase = Passphrase()

    def secrets_key(choice: str) -> SecretsKey:
        if choice != LOCAL:
            return KmsSecretsKey(here.aws, choice)
        make_local_key(here.directory, passphrase)
        return LocalSecretsKey(open_local_key(here.directory, passphrase))

    return FoundingTools(
        store=here.open_store(),
        directory=here.directory,
        passphrase=passphrase,
        repository=here.open_repository(),
        signing=here.signing_keys(passphrase),
        kms_public_key=lambda uri: kms.public_key(here.aws, uri),
        secrets_key=secrets_key,
        clock=utc_now,
        say=say,
    )


def _show(here: "Cluster", request: "FoundingRequest", founded: "Founded") -> None:
    directory, plan = here.directory.path, request.keys
    rows = [
        [
            "root",
            f"{plan.threshold} of {plan.root_keys}",
            ", ".join(plan.root_uris),
            "signs new roots; keep it offline",
        ],
        ["targets", "1 of 1", plan.targets, "signs manifests; needed to publish"],
        ["online", "1 of 1", plan.online, "signs freshness; needed to publish and to refresh"],
        ["secrets", "", founded.document.secrets_key, "opens CA keys on control-plane nodes"],
    ]
    show_table(["KEY", "THRESHOLD", "WHERE", "WHAT IT DOES"], rows, title=f"cluster {here.name} ({founded.record.uid})")
    if plan.is_weak:
        warn(
            "ONE root key is enough to replace all trust in this cluster, and losing it is final. "
            "For anything that matters use --root-keys 3 --threshold 2, and give the keys to three people."
        )
    note(f"back up:  {directory}, and the passphrase elsewhere; then move root-*.pem offline, publishing works without")
    note(f"daily:    coordinator refresh; nodes call the repository stale after {request.lifetimes.timestamp} days")
    note("next:     coordinator assets add ./kubelet --path /usr/local/bin/kubelet, then coordinator publish")
