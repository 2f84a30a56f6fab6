"""What must be true of an instance that gets certificates, at first and at every renewal (N13 to N16)."""

from dataclasses import dataclass
from datetime import datetime

from agent.issuer.checks import Check
from agent.issuer.ec2_instances import Instance
from units.issuer_config import GroupBinding, IssuerConfig

GROUP_TAG = "bootwright.io/group"
_OWNED = ("owned", "shared")
_FIRST_WITHIN = 3600  # seconds after the launch


@dataclass(frozen=True, slots=True)
class InstanceCase:
    config: IssuerConfig
    instance: Instance
    asked_for: str  # the instance id that was proven, or the node name in a certificate

    @property
    def node_name(self) -> str:
        """As units.names.node_name has it, from what EC2 says."""
        by_id = self.config.node_name == "instance-id"
        return (self.instance.instance_id if by_id else self.instance.private_dns_name).lower()

    @property
    def group(self) -> str:
        return self.instance.tags.get(GROUP_TAG, "")

    @property
    def bindings(self) -> tuple[GroupBinding, ...]:
        return tuple(group for group in self.config.groups if group.name == self.group)


@dataclass(frozen=True, slots=True)
class AgeCase:
    instance: Instance
    now: datetime


def _asked_for(case: InstanceCase) -> str:
    found = (case.instance.instance_id, case.node_name)
    return "" if case.asked_for in found else f"EC2 answers with {found}, not with {case.asked_for!r}"


def _owner(case: InstanceCase) -> str:
    found = case.instance.owner
    return "" if found == case.config.account else f"the instance's account is {found!r}, not {case.config.account}"


def _region(case: InstanceCase) -> str:
    found, region = case.instance.zone, case.config.region
    return "" if found.startswith(region) else f"the instance's zone is {found!r}, not one of {region}"


def _state(case: InstanceCase) -> str:
    found = case.instance.state
    return "" if found in ("pending", "running") else f"the instance is {found!r}; allowed: pending, running"


def _vpc(case: InstanceCase) -> str:
    found = case.instance.vpc
    return (
        "" if found == case.config.vpc else f"the instance is in {found or 'no VPC'}, the cluster in {case.config.vpc}"
    )


def _cluster(case: InstanceCase) -> str:
    tag = f"kubernetes.io/cluster/{case.config.cluster}"
    found = case.instance.tags.get(tag)
    return "" if found in _OWNED else f"tag {tag} is {found!r}; allowed: {', '.join(_OWNED)}"


def _group(case: InstanceCase) -> str:
    allowed = ", ".join(group.name for group in case.config.groups)
    return "" if case.bindings else f"tag {GROUP_TAG} is {case.group!r}; allowed: {allowed}"


def _profile(case: InstanceCase) -> str:
    """A tag is anybody's to write who has ec2:CreateTags: the instance profile takes iam:PassRole."""
    wanted = [group.instance_profile_arn for group in case.bindings]
    found = case.instance.profile_arn
    wrong = bool(wanted) and found not in wanted
    return f"group {case.group!r} goes with {wanted[0]}, the instance has {found or 'none'}" if wrong else ""


def _tokens(case: InstanceCase) -> str:
    found = case.instance.http_tokens
    return "" if found == "required" else f"metadata options: HttpTokens is {found!r}; allowed: required"


def _hops(case: InstanceCase) -> str:
    found = case.instance.hop_limit
    return "" if found == 1 else f"metadata options: HttpPutResponseHopLimit is {found}; allowed: 1"


def _address(case: InstanceCase) -> str:
    missing = not case.node_name or not case.instance.private_ip
    return "EC2 reports no private address or DNS name" if missing else ""


def _young(case: AgeCase, since: datetime, what: str) -> str:
    age = (case.now - since).total_seconds()
    return f"{what} {age / 60:.0f} min ago; allowed: {_FIRST_WITHIN // 60}" if age > _FIRST_WITHIN else ""


INSTANCE: tuple[Check[InstanceCase], ...] = (
    Check("N13-id", "instance-unknown", _asked_for),
    Check("N13-account", "instance-wrong-account", _owner),
    Check("N13-region", "instance-wrong-region", _region),
    Check("N13-state", "instance-not-running", _state),
    Check("N14-vpc", "instance-other-vpc", _vpc),
    Check("N14-cluster", "instance-wrong-cluster", _cluster),
    Check("N14-group", "instance-wrong-group", _group),
    Check("N14-profile", "instance-wrong-profile", _profile),
    Check("N15-tokens", "instance-imds-v1", _tokens),
    Check("N15-hops", "instance-imds-hops", _hops),
    Check("N18-address", "instance-no-address", _address),
)
AGE: tuple[Check[AgeCase], ...] = (
    Check("N16-launched", "instance-too-old", lambda case: _young(case, case.instance.launched, "launched")),
    # A stop and a start reset the launch time; the network interface stays.
    Check("N16-attached", "instance-too-old", lambda case: _young(case, case.instance.attached, "first launched")),
)
