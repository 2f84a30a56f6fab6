"""What a certificate says, and whether an authority has signed it."""

from pathlib import Path
from typing import Any


def verified_subject(path: str, authority: str) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    leaf = x509.load_pem_x509_certificate(Path(path).read_bytes())
    signers = x509.load_pem_x509_certificates(Path(authority).read_bytes())
    if not any(is_signed_by(leaf, signer) for signer in signers):
        raise ValueError(f"{path} is not signed by {authority}")
    names = [*leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    names += leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return " ".join(str(attribute.value) for attribute in names)


def is_signed_by(leaf: Any, signer: Any) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        leaf.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def alternative_names(path: str) -> list[str]:
    from cryptography import x509

    leaf = x509.load_pem_x509_certificate(Path(path).read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]
