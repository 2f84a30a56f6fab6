"""Rehearsal: every plan is converged on a machine in memory before it may be published. Pure.

A fleet's plans are much alike: fifty worker groups differ in labels, and a group's zones in one word. Plans that differ
only in texts that a machine in memory does not look at are rehearsed once, or a publish of 500 groups takes a minute.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from pki.authority import Authority
from pki.keys import PrivateKeyPem, dump_private_key, make_key, public_key_pem
from pki.profiles import AUTHORITIES
from units.converge import converge
from units.envelope import SERVICE_ACCOUNT, authority_secret
from units.errors import Invalid
from units.facts import sample_facts
from units.files import File
from units.manifest import Authority as PublicAuthority
from units.manifest import AuthorityName, Manifest, Trust
from units.memory import MemoryHost, MemorySecrets, acted_on
from units.plan import Plan, plan
from units.resource import Resource
from units.systemd import Unit

_NOW = datetime(2026, 1, 1, tzinfo=UTC)

Signature = tuple[Any, ...]


class Rehearsals:
    """The rehearsals of one publish."""

    def __init__(self) -> None:
        self._done: list[Signature] = []

    def require(self, manifest: Manifest, zone: str, the_plan: Plan) -> None:
        """Rehearse `the_plan`, which is the manifest's in this zone, unless one with its signature was. Invalid."""
        signature = tuple(signature_of(resource) for resource in the_plan)
        if signature not in self._done:
            rehearse(manifest, zone)
            self._done.append(signature)


def signature_of(resource: Resource) -> Signature:
    """Everything of a resource that can make a difference to a rehearsal.

    A file's text cannot: a machine in memory compares it with itself only. Of a unit's text, `acted_on` says what can.
    """
    match resource:
        case File(encoding="text"):
            return (File, resource.kind, resource.path, resource.mode, resource.owner, resource.group, resource.secret)
        case Unit():
            text = None if resource.content is None else acted_on(resource.content)
            return (Unit, resource.name, resource.mode, text)
        case _:
            return (resource,)


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
            "service_account_secret": SERVICE_ACCOUNT,
        }
    )


@cache
def _throw_away() -> tuple[dict[AuthorityName, Authority], PrivateKeyPem]:
    return {name: Authority.create(name, _NOW) for name in AUTHORITIES}, make_key()
