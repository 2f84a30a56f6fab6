"""Preview: what a new manifest changes on a node, computed by the very code that the node will run. Pure."""

import difflib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Literal

from pki.authority import Authority
from pki.keys import PrivateKeyPem, dump_private_key, make_key, public_key_pem
from pki.profiles import AUTHORITIES
from units.converge import converge
from units.envelope import SERVICE_ACCOUNT, authority_secret
from units.errors import Invalid
from units.facts import sample_facts
from units.manifest import Authority as PublicAuthority
from units.manifest import AuthorityName, Manifest, Trust
from units.memory import MemoryHost, MemorySecrets
from units.plan import plan

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ItemDiff:
    """One resource: its unified diff, without the file header."""

    key: str
    kind: Literal["add", "change", "remove"]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupDiff:
    group: str
    items: tuple[ItemDiff, ...]

    @property
    def changed(self) -> bool:
        return bool(self.items)


def preview_group(before: Manifest | None, after: Manifest) -> GroupDiff:
    """The change per resource, on the sample machine of every zone of the group; each item once.

    Invalid (`plan-impossible`, `preview-failed`) if the new manifest cannot be planned, or does not converge on a
    machine in memory: then nothing may be published.
    """
    items: dict[tuple[str, tuple[str, ...]], ItemDiff] = {}
    for zone in after.group.zones:
        rehearse(after, zone)
        for item in _differences(_published(before, zone), _described(after, zone)):
            items.setdefault((item.key, item.lines), item)
    return GroupDiff(after.group.name, tuple(items.values()))


def rehearse(manifest: Manifest, zone: str) -> None:
    """Boot the group on an empty machine in memory, twice: it must converge, and then have nothing left to do."""
    authorities, service_account = _throw_away()
    rehearsed = manifest.model_copy(update={"trust": _rehearsal_trust(manifest.trust, authorities, service_account)})
    keys = {authority_secret(name): dump_private_key(a.key) for name, a in authorities.items()}
    machine = MemoryHost(MemorySecrets(dict(authorities), {**keys, SERVICE_ACCOUNT: service_account}, _NOW))
    the_plan = plan(rehearsed, sample_facts(zone=zone, region=manifest.cluster.region))
    first = converge(the_plan, machine.host)
    if first.failure:
        raise Invalid(
            "preview-failed",
            f"group {manifest.group.name!r} does not come up on a machine in memory: {first.failure.message}",
            remedy=first.failure.remedy,
        )
    if again := converge(the_plan, machine.host).changed:
        raise Invalid(
            "preview-failed",
            f"group {manifest.group.name!r} would change itself at every boot: {again[0].key}",
            remedy="this is a defect of bootwright: please report it with the spec",
        )


def _rehearsal_trust(
    trust: Trust, authorities: dict[AuthorityName, Authority], service_account: PrivateKeyPem
) -> Trust:
    """The private halves never come near a preview, so it signs with authorities of its own."""
    return trust.model_copy(
        update={
            "authorities": tuple(
                PublicAuthority(name=a.name, bundle=authorities[a.name].certificate.pem.decode())
                for a in trust.authorities
            ),
            "service_account_keys": (public_key_pem(service_account).decode(),) if trust.service_account_keys else (),
        }
    )


@cache
def _throw_away() -> tuple[dict[AuthorityName, Authority], PrivateKeyPem]:
    return {name: Authority.create(name, _NOW) for name in AUTHORITIES}, make_key()


def _published(manifest: Manifest | None, zone: str) -> dict[str, tuple[str, ...]]:
    if manifest is None or zone not in manifest.group.zones:
        return {}
    try:
        return _described(manifest, zone)
    except Invalid:  # by the rules of a newer bootwright; whoever publishes its repair must not be stopped by it
        return {}


def _described(manifest: Manifest, zone: str) -> dict[str, tuple[str, ...]]:
    facts = sample_facts(zone=zone, region=manifest.cluster.region)
    descriptions = (resource.describe() for resource in plan(manifest, facts))
    return {description.key: description.lines for description in descriptions}


def _differences(old: dict[str, tuple[str, ...]], new: dict[str, tuple[str, ...]]) -> list[ItemDiff]:
    items = []
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        kind: Literal["add", "change", "remove"] = "add" if before is None else "remove" if after is None else "change"
        lines = tuple(difflib.unified_diff(before or (), after or (), lineterm="", n=2))[2:]
        items.append(ItemDiff(key, kind, lines))
    return items
