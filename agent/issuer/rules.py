"""All checks, in the order in which they are made. A deployment uses every one; a test may take one out."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

from agent.issuer.body import BODY, CSRS
from agent.issuer.callback import CALLBACK, CallbackCase
from agent.issuer.caller import CALLER, CallerCase
from agent.issuer.checks import Check
from agent.issuer.claims import KEY, READY, KeyCase, ReadyCase
from agent.issuer.instance_rules import AGE, INSTANCE, AgeCase, InstanceCase
from agent.issuer.proof import AUTHORIZATION, DOCUMENT, PROOF, TOKEN, ProofCase
from agent.issuer.renewal import CERTIFICATE
from agent.issuer.strict_json import Document
from agent.issuer.sts import StsAnswer
from agent.issuer.sts_answer import ANSWER, TREE
from pki.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Rules:
    body: tuple[Check[bytes], ...] = BODY
    csrs: tuple[Check[Document], ...] = CSRS
    authorization: tuple[Check[str], ...] = AUTHORIZATION
    token: tuple[Check[str], ...] = TOKEN
    document: tuple[Check[Document], ...] = DOCUMENT
    proof: tuple[Check[ProofCase], ...] = PROOF
    answer: tuple[Check[StsAnswer], ...] = ANSWER
    tree: tuple[Check[ET.Element], ...] = TREE
    caller: tuple[Check[CallerCase], ...] = CALLER
    certificate: tuple[Check[Certificate], ...] = CERTIFICATE
    instance: tuple[Check[InstanceCase], ...] = INSTANCE
    callback: tuple[Check[CallbackCase], ...] = CALLBACK
    age: tuple[Check[AgeCase], ...] = AGE
    ready: tuple[Check[ReadyCase], ...] = READY
    key: tuple[Check[KeyCase], ...] = KEY

    def names(self) -> Iterator[str]:
        for field in fields(self):
            yield from (check.name for check in getattr(self, field.name))

    def without(self, name: str) -> Self:
        """For tests: the same rules less one; LookupError if there is none of this name."""
        if name not in self.names():
            raise LookupError(name)
        left = {
            field.name: tuple(check for check in getattr(self, field.name) if check.name != name)
            for field in fields(self)
        }
        return replace(self, **left)
