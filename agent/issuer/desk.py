"""The story of one request: who asks, which machine that is, whose identity it has, and then the certificates."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from agent.issuer import answers, audit
from agent.issuer.answers import Answer, Asked
from agent.issuer.body import read_csrs
from agent.issuer.callback import CallbackCase
from agent.issuer.caller import instance_of
from agent.issuer.checks import require
from agent.issuer.claims import Claims
from agent.issuer.codes import later, refused
from agent.issuer.ec2_instances import Ec2Instances, Instance
from agent.issuer.instance_rules import InstanceCase
from agent.issuer.proof import read_proof
from agent.issuer.rates import Rates
from agent.issuer.renewal import read_certificate
from agent.issuer.rules import Rules
from agent.issuer.signing import Signing
from agent.issuer.sts import Sts
from agent.issuer.sts_answer import read_caller
from agent.issuer.wire import NODE_KEY
from pki.keys import spki_sha256
from units.errors import Refused, Retryable
from units.issuer_config import IssuerConfig

logger = logging.getLogger(__name__)

Mark = Callable[[str, str], None]
"""Told (node name, group) after a kubelet-client certificate was issued."""


@dataclass(frozen=True, slots=True)
class Proven:
    """Who asks. `presented` is the key of a certificate; None after a proof through STS."""

    name: str  # instance id, or the node's name
    presented: str | None


@dataclass(frozen=True, slots=True)
class Desk:
    """For one thread; `instance_rates` is shared by all."""

    config: IssuerConfig
    rules: Rules
    sts: Sts
    ec2: Ec2Instances
    claims: Claims
    signing: Signing
    instance_rates: Rates
    mark: Mark
    now: Callable[[], datetime]

    def answer(self, asked: Asked) -> Answer:
        proven = None
        try:
            proven = self._prove(asked)
            return self._issue(asked, proven)
        except Refused as refusal:
            audit.refused(asked.source, refusal, proven=proven.name if proven else "")
            return answers.told(refusal) if proven else answers.REFUSED
        except Retryable as trouble:
            audit.refused(asked.source, trouble, proven=proven.name if proven else "")
            return answers.not_now(trouble)
        except Exception:  # the boundary of one request: a fault of ours must not end the issuer
            logger.exception("a request from %s failed", asked.source)
            return answers.not_now(later("issuer-failed", "a fault of the issuer's own", after=30))

    def _prove(self, asked: Asked) -> Proven:
        """Everything in here is refused in one and the same way: the caller is nobody yet."""
        if asked.certificate is not None:
            if asked.authorizations:
                raise refused("proof-malformed", "two proofs at once")
            name, presented = read_certificate(asked.certificate, self.rules)
            return Proven(name, presented)
        if len(asked.authorizations) != 1:
            raise refused("proof-missing", f"{len(asked.authorizations)} Authorization headers; allowed: one")
        proof = read_proof(asked.authorizations[0], self.rules, self.now())
        read_csrs(asked.body, self.rules)  # before STS is bothered with what could never be signed
        answer = self.sts.ask(proof, hashlib.sha256(asked.body).hexdigest())
        return Proven(instance_of(read_caller(answer, self.rules), self.config, self.rules), None)

    def _issue(self, asked: Asked, proven: Proven) -> Answer:
        self._require_patience(proven)
        keys = self.signing.keys(read_csrs(asked.body, self.rules))
        new = spki_sha256(keys[NODE_KEY]) if NODE_KEY in keys else None
        if proven.presented is None and new is None:
            raise refused("csr-refused", f"a first request must hold a CSR for {NODE_KEY}")
        case = self._instance(proven)
        if proven.presented is not None:
            self.claims.hand_on(case, proven.presented, new)
        elif new is not None:
            self._require_callback(case, asked.body)
            self.claims.claim(case, new, self.now())
        certificates = self.signing.sign(case, keys, self.now())
        if new is not None:
            self.mark(case.node_name, case.group)
        audit.issued(
            asked.source,
            instance=case.instance.instance_id,
            node=case.node_name,
            group=case.group,
            how="sts" if proven.presented is None else "certificate",
            profiles=certificates,
        )
        return answers.issued(certificates)

    def _require_callback(self, case: InstanceCase, body: bytes) -> None:
        found, digest = case.instance, hashlib.sha256(body).hexdigest()
        port = self.config.callback_port
        require(self.rules.callback, CallbackCase(found.instance_id, found.private_ip, port, digest))

    def _require_patience(self, proven: Proven) -> None:
        wait = self.instance_rates.take((self.config.account, self.config.region, proven.name))
        if wait:
            raise later("throttled", f"{proven.name} asks too often", after=wait)

    def _instance(self, proven: Proven) -> InstanceCase:
        case = InstanceCase(self.config, self._described(proven), proven.name)
        require(self.rules.instance, case)
        return case

    def _described(self, proven: Proven) -> Instance:
        if proven.presented is None or self.config.node_name == "instance-id":
            found = self.ec2.by_id(proven.name)
        else:
            found = self.ec2.by_name(proven.name, self.config.vpc)
        if len(found) != 1:  # none: eventual consistency right after a launch (N19)
            raise later("instance-unknown", f"EC2 knows {len(found)} instances {proven.name!r}; allowed: one")
        return found[0]
