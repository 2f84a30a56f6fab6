"""A bundle of an authority that is being replaced: who signs, who is trusted, and where the key lies."""

import json

from tests.units.sample import PUBLIC
from units.envelope import SERVICE_ACCOUNT, authority_secret, later_secret
from units.manifest import Authority, Trust

OLD, NEW = PUBLIC["kubernetes"], PUBLIC["front-proxy"]


def bundle(*pems: str) -> Authority:
    return Authority(name="kubernetes", bundle="".join(pems), secret="authority-kubernetes-0123abcd")


def test_the_first_certificate_signs_and_all_are_trusted() -> None:
    assert bundle(OLD, NEW).certificates == (OLD, NEW)
    assert bundle(OLD, NEW).signing == OLD
    assert bundle(NEW, OLD).signing == NEW


def test_whom_a_bundle_trusts_does_not_tell_who_signs() -> None:
    assert bundle(OLD, NEW).trusted == bundle(NEW, OLD).trusted
    assert len({bundle(OLD, NEW).trusted, bundle(OLD).trusted, bundle(NEW).trusted}) == 3


def test_text_between_certificates_is_not_trusted_with_them() -> None:
    assert bundle("subject: x\n", OLD, "\n# new\n", NEW).certificates == (OLD, NEW)


def test_a_document_of_before_rotations_names_the_first_generation() -> None:
    for name in ("kubernetes", "etcd-peers", "etcd-clients", "front-proxy"):
        old = Authority.model_validate_json(json.dumps({"name": name, "bundle": OLD}))
        assert old.secret == authority_secret(name)
        assert Authority.model_validate_json(old.model_dump_json()) == old
    assert (
        Trust(authorities=(), service_account_keys=(), service_account_issuer="x", secrets_key="local:0").model_dump()[
            "service_account_secret"
        ]
        == SERVICE_ACCOUNT
    )


def test_a_later_generation_has_an_envelope_of_its_own() -> None:
    assert later_secret(authority_secret("kubernetes"), "0123abcd" * 8) == "authority-kubernetes-0123abcd"
