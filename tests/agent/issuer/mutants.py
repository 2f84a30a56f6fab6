"""Issuers with one mechanism broken that is no check in the rules' table."""

from collections.abc import Callable
from dataclasses import replace

from cryptography import x509

from agent.issuer.desk import Desk
from agent.issuer.proof import Proof
from agent.issuer.service import Office
from agent.issuer.sts import Sts, StsAnswer, rebuild
from tests.agent.issuer.drafts import Draft
from tests.agent.issuer.world import World
from units.issuer_config import IssuerConfig


def _without(header: str) -> Callable[[World], Desk]:
    """A rebuilt request that forgets one of the headers that bind the proof."""

    def forgetful(config: IssuerConfig, proof: Proof, digest: str) -> dict[str, str]:
        headers = {name: value for name, value in rebuild(config, proof, digest).items() if name != header}
        return headers | {"authorization": headers["authorization"].replace(f"{header};", "").replace(f";{header}", "")}

    return lambda world: replace(world.office().desk(), sts=Sts(world.config, rebuild=forgetful))


class _Following(Sts):
    def ask(self, proof: Proof, body_sha256: str) -> StsAnswer:
        """Goes where it is sent, and believes what it hears there."""
        answer = super().ask(proof, body_sha256)
        return replace(answer, status=200, content_type="text/xml") if answer.status == 307 else answer


def _gullible(world: World) -> Desk:
    desk = world.office().desk()
    signing = replace(desk.signing, key_of=lambda pem: x509.load_pem_x509_csr(pem).public_key())
    return replace(desk, signing=signing)


MECHANISMS: dict[str, Callable[[World], Office | Desk]] = {
    "N7": _without("x-node-audience"),
    "N8": _without("x-node-request-sha256"),
    "N9": lambda world: replace(world.office().desk(), sts=_Following(world.config)),
    "N10-size": lambda world: replace(world.office().desk(), sts=Sts(world.config, limit=1_000_000)),
    "N18-csr": _gullible,
}


def answer_of(issuer: Office | Desk, draft: Draft) -> int:
    return issuer.answer(draft.asked()).status
