"""`coordinator iam`."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import print_json, show_table, warn

if TYPE_CHECKING:
    from coordinator.iam import Place, Wanted
    from coordinator.iam_keys import Chosen
    from coordinator.location import Cluster
    from coordinator.spec import ClusterSpec

HELP = """Print the least-privilege IAM policy of a role, as JSON. Without a role: list the roles.

\b
Roles:
  node           a worker: reads its own groups' signed objects, reports on itself
  control-plane  that, and opens CA keys, keeps etcd's records and backups, attaches etcd's volumes to itself
  publisher      coordinator init, assets, publish, rollouts, trust rotate, status: signs and seals, opens no secret
  refresher      coordinator refresh: renews freshness, can change nothing else
  on-call        coordinator status, validate, rollout status, halt, unhalt: sees the fleet, can only stop rollouts
  administrator  coordinator kubeconfig: opens the CA's key
  restorer       coordinator etcd backups, etcd restore: puts another backup in force, reads none

The first two are for instance profiles; groups with an instanceProfile of their own get a policy per profile. KMS
conditions name this very cluster once it is initialised: print the policies again after `coordinator init`.

\b
Examples:
  coordinator iam node -f cluster.yaml > node.json
  coordinator iam node --trust -f cluster.yaml > trust.json
  aws iam create-role --role-name nodes.example.com --assume-role-policy-document file://trust.json
  aws iam put-role-policy --role-name nodes.example.com --policy-name bootwright --policy-document file://node.json
  coordinator iam --all -f cluster.yaml                      every role's, by name of instance profile or role
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Print the least-privilege IAM policy of a role.")(iam)


def iam(
    *,
    role: Annotated[
        str | None,
        typer.Argument(
            help="node, control-plane, publisher, refresher, on-call, administrator or restorer.", show_default=False
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="Which instance profile, if the role's groups carry several.", metavar="NAME"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All policies, by instance profile or role.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Print who may assume the role instead: EC2, for machines.")
    ] = False,
    through_endpoints: Annotated[
        bool,
        typer.Option(
            "--through-endpoints",
            help="Machines' credentials work only through VPC endpoints, from the very instance. Needs endpoints for "
            "S3, EC2 and KMS in the VPC.",
        ),
    ] = False,
    kms: Annotated[
        str | None, typer.Option("--kms", help="Before init: the symmetric KMS key for secrets.", metavar="ARN")
    ] = None,
    targets_key: Annotated[
        str | None,
        typer.Option("--targets-key", help="Before init or a rotation: a KMS key that signs content.", metavar="ARN"),
    ] = None,
    online_key: Annotated[
        str | None,
        typer.Option("--online-key", help="Before init or a rotation: a KMS key that signs freshness.", metavar="ARN"),
    ] = None,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.iam import Wanted, policy, trust_policy
    from coordinator.iam_keys import Chosen
    from coordinator.location import Where, locate
    from units.errors import Invalid

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    spec = _spec_of(here)
    if role is None and not every:
        if trust or profile:
            raise Invalid("iam-role-needed", "--trust and --profile are about a role", remedy="coordinator iam node")
        _explain(spec)
        return
    place = _place(here, spec, Chosen(kms, targets_key, online_key))
    if trust:
        _require_machine(role)
        print_json(trust_policy(place))
    elif every:
        if role is not None:
            raise Invalid("iam-role-and-all", f"{role!r} and --all exclude each other")
        wanted = _all(spec, through_endpoints=through_endpoints)
        print_json({name: policy(spec, place, each) for name, each in wanted.items()})
    else:
        print_json(policy(spec, place, Wanted(role or "", profile, through_endpoints)))


def _spec_of(here: "Cluster") -> "ClusterSpec":
    from units.errors import Invalid

    if here.spec is None:
        raise Invalid("iam-needs-spec", "policies follow from the spec", remedy="give -f cluster.yaml")
    if here.bucket is None:
        raise Invalid("iam-needs-s3", f"{here.location}: IAM guards buckets only", remedy="use a store s3://BUCKET")
    return here.spec.model_copy(update={"store": here.location, "region": here.aws.region or here.spec.region})


def _place(here: "Cluster", spec: "ClusterSpec", chosen: "Chosen") -> "Place":
    from coordinator.iam import place_of
    from coordinator.iam_keys import keys_of

    keys = keys_of(spec, here.directory, chosen)
    if keys.uid is None:
        warn(
            f"{here.directory.path} holds no cluster yet, so the policy is bound to its name alone: print it again "
            "after `coordinator init`"
        )
    return place_of(spec, keys)


def _require_machine(role: str | None) -> None:
    from coordinator.iam import EC2_ONLY_ROLES
    from units.errors import Invalid

    if role not in EC2_ONLY_ROLES:
        raise Invalid(
            "iam-trust-of-people",
            f"--trust is for {' and '.join(EC2_ONLY_ROLES)}",
            remedy="who may publish, refresh or administer is yours to say: name your people's roles or CI's identity",
        )


def _all(spec: "ClusterSpec", *, through_endpoints: bool) -> "dict[str, Wanted]":
    """By instance profile for machines, by role for people."""
    from coordinator.iam import EC2_ONLY_ROLES, ROLES, Wanted, profiles

    machines = {
        profile: Wanted(role, profile, through_endpoints) for role in EC2_ONLY_ROLES for profile in profiles(spec, role)
    }
    return machines | {role: Wanted(role) for role in ROLES if role not in EC2_ONLY_ROLES}


_FOR: dict[str, str] = {
    "publisher": "init, assets, publish, rollouts, trust rotate, history, status",
    "refresher": "refresh, from cron",
    "administrator": "kubeconfig",
    "restorer": "etcd backups, etcd restore",
}


def _explain(spec: "ClusterSpec") -> None:
    from coordinator.iam import EC2_ONLY_ROLES, profiles

    rows = [
        [role, f"instance profile {profile}", f"groups {', '.join(groups)}"]
        for role in EC2_ONLY_ROLES
        for profile, groups in profiles(spec, role).items()
    ]
    rows += [[role, "people, or a pipeline", f"coordinator {commands}"] for role, commands in _FOR.items()]
    show_table(("ROLE", "HELD BY", "FOR"), rows, title=f"roles of {spec.name}; coordinator iam ROLE prints the policy")
