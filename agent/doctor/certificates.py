"""Certificates on the disk: readable, within their time, with their own key, and signed by an authority beside them."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from agent.certificates import take_inventory
from agent.doctor.case import Case
from agent.doctor.finding import Finding, fail, ok, skipped, warn, worst
from pki.certificate import Certificate, load_credential
from pki.chain import load_authorities, verify_chain
from pki.errors import PkiError
from pki.profiles import Usage
from units.expiry import expiring
from units.paths import AUTHORITIES, PKI

_RENEW = "agent sync; if it cannot renew, it says why"


def certificates(case: Case) -> Finding:
    folder = case.patient.path(PKI)
    if not any(folder.rglob("*.pem")):
        return skipped("none yet: they are issued once the manifest is verified")
    return worst(list(_findings(case, folder)))


def _findings(case: Case, folder: Path) -> Iterator[Finding]:
    now = case.patient.now()
    inventory = take_inventory(now, case.instance_id, str(folder))
    for unreadable, said in inventory.unreadable:
        path_text = unreadable.removeprefix(f"{folder}/")
        yield fail(f"{path_text} cannot be read: {said}", "agent boot issues it anew", "certificate-unreadable")
    bundles = tuple(path.read_bytes() for path in sorted(case.patient.path(AUTHORITIES).glob("*.crt")))
    for path in sorted(folder.rglob("*.pem")):
        if (problem := _broken(path, bundles, now)) is not None:
            yield problem
    for notice in expiring(inventory.certificates, now):
        text = notice.text.removeprefix(f"{folder}/")
        if notice.left.expired:
            yield fail(text, notice.remedy if notice.authority else _RENEW, "certificate-expired")
        else:
            yield warn(text, notice.remedy, "certificate-ends-soon")
    yield ok(f"{len(inventory.certificates)} certificates, none of them near its end")


def _broken(path: Path, bundles: tuple[bytes, ...], now: datetime) -> Finding | None:
    try:
        credential = load_credential(path.read_bytes())
        name = f"{path.parent.name}/{path.name}"
        if not credential.key_matches:
            return fail(f"{name}: the key is another certificate's", "agent boot issues it anew", "key-mismatch")
    except (PkiError, OSError):
        return None  # the inventory has named it already
    leaf = credential.leaf
    if now < leaf.not_before:
        return fail(f"{name} begins only {leaf.not_before:%Y-%m-%d %H:%M} UTC", "check the clock", "clock-wrong")
    if now < leaf.not_after and not _vouched_for(leaf, bundles, now):
        said = f"{name}, issued by {leaf.issuer}, is signed by no authority in {AUTHORITIES}"
        return fail(said, "agent sync: it issues anew under the signer of the manifest", "chain-refused")
    return None


def _vouched_for(leaf: Certificate, bundles: tuple[bytes, ...], now: datetime) -> bool:
    usage = Usage.SERVER if Usage.SERVER.value in leaf.usages else Usage.CLIENT
    for bundle in bundles:
        try:
            load_authorities(bundle)
            verify_chain(leaf.pem, bundle, usage, now)
        except PkiError:
            continue
        return True
    return False
