"""Who signed, by STS's word: an instance of our account, or nobody we talk to (N11, N12)."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.issuer.checks import Check, require
from units.issuer_config import IssuerConfig

if TYPE_CHECKING:
    from agent.issuer.rules import Rules

_INSTANCE = r"(?P<instance>i-[0-9a-f]{8,17})"
_ARN = r"arn:[^:]*:sts::[^:]*:assumed-role/"
# A role's name cannot hold a colon: nobody can make a role that looks like the instance identity role.
_ROLE = r"[A-Za-z0-9_+=,.@-]{1,64}"
_ARNS = {
    "instance-identity": re.compile(rf"{_ARN}aws:ec2-instance/{_INSTANCE}", re.ASCII),
    "instance-profile": re.compile(rf"{_ARN}{_ROLE}/{_INSTANCE}", re.ASCII),
}
_USER_IDS = {
    "instance-identity": re.compile(rf"(?P<account>[0-9]{{12}}):aws:ec2-instance:{_INSTANCE}", re.ASCII),
    # AROA: of a role, and of this one, not of a namesake that was made after it was deleted.
    "instance-profile": re.compile(rf"(?P<account>AROA[A-Z0-9]{{12,28}}):{_INSTANCE}", re.ASCII),
}


@dataclass(frozen=True, slots=True)
class Caller:
    account: str
    arn: str
    user_id: str

    def part(self, index: int) -> str:
        """Of the ARN: 1 is the partition, 4 the account."""
        parts = self.arn.split(":")
        return parts[index] if index < len(parts) else ""


@dataclass(frozen=True, slots=True)
class CallerCase:
    config: IssuerConfig
    caller: Caller

    @property
    def instance_id(self) -> str:
        return self.caller.arn.rpartition("/")[2]


def instance_of(caller: Caller, config: IssuerConfig, rules: "Rules") -> str:
    """The id of the instance that signed."""
    case = CallerCase(config, caller)
    require(rules.caller, case)
    return case.instance_id


def _account(case: CallerCase) -> str:
    found = case.caller.account
    return "" if found == case.config.account else f"account {found[:20]!r}, ours is {case.config.account}"


def _partition(case: CallerCase) -> str:
    found = case.caller.part(1)
    return "" if found == case.config.partition else f"partition {found[:20]!r}, ours is {case.config.partition!r}"


def _arn_account(case: CallerCase) -> str:
    found = case.caller.part(4)
    return "" if found == case.caller.account else f"the ARN's account is {found[:20]!r}, not {case.caller.account!r}"


def _arn(case: CallerCase) -> str:
    fits = _ARNS[case.config.source].fullmatch(case.caller.arn)
    return "" if fits else f"{case.caller.arn[:120]!r} is no {case.config.source}"


def _user_id(case: CallerCase) -> str:
    found = _USER_IDS[case.config.source].fullmatch(case.caller.user_id)
    same = found is not None and found["instance"] == case.instance_id
    if same and found is not None and case.config.source == "instance-identity":
        same = found["account"] == case.caller.account
    return "" if same else f"UserId {case.caller.user_id[:80]!r} is not that of {case.instance_id[:30]!r}"


CALLER: tuple[Check[CallerCase], ...] = (
    Check("N11-account", "identity-wrong-account", _account),
    Check("N11-partition", "identity-wrong-account", _partition),
    Check("N11-arn-account", "identity-wrong-account", _arn_account),
    Check("N12-arn", "identity-not-an-instance", _arn),
    Check("N12-user-id", "identity-not-an-instance", _user_id),
)
