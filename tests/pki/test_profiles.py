"""The table of profiles, and what it turns into. `UPDATE_GOLDEN=1 pytest tests/pki` rewrites profiles.txt."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pki.certificate import Certificate, load_certificate
from pki.profiles import AUTHORITIES, PROFILES, Usage

GOLDEN = Path(__file__).parent / "golden" / "profiles.txt"


def key_usages(certificate: Certificate) -> str:
    value = certificate.parsed.extensions.get_extension_for_class(x509.KeyUsage).value
    names = ("digital_signature", "key_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    return ", ".join(name for name in names if getattr(value, name))


def block(name: str, certificate: Certificate, default: timedelta) -> str:
    constraints = certificate.parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
    subject = [*(f"O={text}" for text in certificate.organizations), f"CN={certificate.common_name}"]
    lines = [
        name,
        f"  signed by    {certificate.issuer}",
        f"  subject      {', '.join(subject)}",
        f"  constraints  CA:{str(constraints.ca).upper()}"
        + (f", pathlen:{constraints.path_length}" if constraints.ca else ""),
        f"  key usage    {key_usages(certificate)}",
        f"  usages       {', '.join(certificate.usages) or '-'}",
        *(f"  name         {text}" for text in certificate.alternative_names or ("-",)),
        f"  lifetime     {default}",
        f"  backdated    {certificate.lifetime - default}",
    ]
    return "\n".join(lines)


def test_any_change_of_any_certificate_shows_in_the_golden_table(cluster) -> None:
    blocks = [block(name, cluster.authorities[name].certificate, timedelta(days=3650)) for name in AUTHORITIES]
    for name, profile in PROFILES.items():
        text = block(name, load_certificate(cluster.issue(name).pem), profile.lifetime)
        wanted = "one of its own at least" if profile.wants_address else "-"
        blocks.append(f"{text}\n  at most      {profile.longest_lifetime}\n  addresses    {wanted}")
    title = "Every certificate of a cluster, as issued for node ip-10-99-0-5 at 10.99.0.5 with an elliptic key."
    table = "\n\n".join([title, *blocks]) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(table)
    assert table == GOLDEN.read_text()


def test_only_the_break_glass_certificate_is_in_system_masters() -> None:
    masters = [profile for profile in PROFILES.values() if "system:masters" in profile.organizations]
    assert [profile.name for profile in masters] == ["super-admin"]
    assert masters[0].longest_lifetime <= timedelta(hours=18)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_row_is_sound(profile) -> None:
    assert profile.authority in AUTHORITIES
    assert profile.usages
    assert timedelta() < profile.lifetime <= profile.longest_lifetime <= timedelta(days=365)
    serves = Usage.SERVER in profile.usages
    assert serves == bool(profile.dns_names or profile.ip_addresses or profile.wants_address)


def test_no_two_clients_of_one_authority_share_a_subject() -> None:
    """Otherwise RBAC could not tell them apart."""
    clients = [profile for profile in PROFILES.values() if Usage.CLIENT in profile.usages]
    subjects = {(profile.authority, profile.common_name, profile.organizations) for profile in clients}
    assert len(subjects) == len(clients)


def test_the_table_cannot_be_changed_at_run_time() -> None:
    with pytest.raises(TypeError):
        PROFILES["admin"] = PROFILES["agent"]  # type: ignore[index]
