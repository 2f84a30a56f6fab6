"""NodeCertificates: all leaves of a machine that holds no CA key, asked of the issuer in one request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pki.certificate import combine, load_credential
from pki.errors import PkiError
from pki.keys import PrivateKeyPem, load_private_key, make_key
from pki.renewal import problems
from pki.request import CertificateRequest, build_csr
from units.errors import Retryable
from units.host import Host
from units.resource import Change, Description
from units.usable import usable_leaf

NODE_KEY = "kubelet-client"  # the profile whose key is the machine's identity: the first one wins (trust.md N17)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One combined PEM, root 0600, in a directory of its own component."""

    path: str
    request: CertificateRequest


@dataclass(frozen=True, slots=True)
class NodeCertificates:
    """The first leaf is NODE_KEY's. What is due is issued together: one proof of identity, one round trip.

    While the machine's own certificate is good it renews over mutual TLS, with new keys. Without a good one it proves
    which instance it is, and then with the key it had: the issuer knows the machine by that key.
    """

    leaves: tuple[Leaf, ...]
    bundle: str = field(repr=False)  # the PEM certificates of the authority that must have signed them
    accepted: str = field(repr=False)  # and of all that an issuer accepts a renewal under
    jitter_key: str

    @property
    def key(self) -> str:
        return "certificates:issuer"

    def check(self, host: Host) -> Change | None:
        wrong = {leaf.request.profile: self._problems(host, leaf) for leaf in self.leaves}
        due = [f"{profile} ({'; '.join(reasons)})" for profile, reasons in wrong.items() if reasons]
        return Change(f"ask the issuer for {', '.join(due)}") if due else None

    def apply(self, host: Host) -> None:
        node = self.leaves[0]
        due = [leaf for leaf in self.leaves if self._problems(host, leaf)]
        credential = self._credential(host)
        keys = {leaf.request.profile: make_key() for leaf in due}
        if credential is None:
            # The proof is made with the key that the issuer knows this machine by, so that leaf is issued again too.
            keys[NODE_KEY] = self._key(host) or self._keep(host, make_key())
            due = [node, *(leaf for leaf in due if leaf != node)]
        csrs = {leaf.request.profile: build_csr(leaf.request, keys[leaf.request.profile]) for leaf in due}
        issued = host.issuer.issue(csrs, credential)
        if missing := sorted(csrs.keys() - issued.keys()):
            raise Retryable("issuer-answer-incomplete", f"the issuer's answer lacks {', '.join(missing)}")
        written = {leaf: combine(issued[leaf.request.profile], keys[leaf.request.profile]) for leaf in due}
        self._require_signing_authority(written, host.clock.now())
        # The node's own last: as long as it is the old one, an interrupted run goes on from where it was.
        for leaf in sorted(due, key=lambda leaf: leaf == node):
            host.files.write(leaf.path, written[leaf], mode=0o600, owner="root", group="root")

    def describe(self) -> Description:
        lines = []
        for leaf in self.leaves:
            request = leaf.request
            lines += [
                f"{leaf.path}: profile {request.profile}, from the issuer, lifetime {request.lifetime}",
                f"  subject CN={request.common_name} O={','.join(request.organizations) or '-'}",
                f"  dns {' '.join(request.dns_names) or '-'}; ip {' '.join(request.ip_addresses) or '-'}",
            ]
        return Description(self.key, tuple(lines))

    def _require_signing_authority(self, written: Mapping[Leaf, bytes], now: datetime) -> None:
        """An issuer that has not taken a rotation's phase yet signs with the authority before: what this machine has is
        as good as that, and nothing is written.
        """
        for leaf, content in written.items():
            accepted = problems(content, leaf.request, self.accepted.encode(), now, self.jitter_key)
            if not accepted and problems(content, leaf.request, self.bundle.encode(), now, self.jitter_key):
                raise Retryable(
                    "issuer-behind",
                    f"the issuer still signs {leaf.request.profile} with the authority that is being replaced",
                    remedy="it passes when the control plane has taken the phase, about a minute after this node; "
                    "`coordinator trust status` names nodes that have not, `agent status` there says why",
                    after=10,
                )

    def _problems(self, host: Host, leaf: Leaf) -> tuple[str, ...]:
        state = host.files.read(leaf.path)
        if state is None or state.content is None:
            return ("there is none",)
        wrong = problems(state.content, leaf.request, self.bundle.encode(), host.clock.now(), self.jitter_key)
        if not wrong and (state.mode, state.owner, state.group) != (0o600, "root", "root"):
            return (f"attributes of {state.owner}:{state.group} {state.mode:04o}",)
        return wrong

    def _credential(self, host: Host) -> bytes | None:
        """The machine's certificate, if the issuer still accepts it: then the connection is the proof."""
        node = self.leaves[0]
        if usable_leaf(host, node.path, node.request, self.accepted) is None:
            return None
        state = host.files.read(node.path)
        return state.content if state else None

    def _key(self, host: Host) -> PrivateKeyPem | None:
        """With a certificate or still without one."""
        state = host.files.read(self.leaves[0].path)
        if state is None or state.content is None:
            return None
        for read in (lambda content: load_credential(content).key, PrivateKeyPem):
            try:
                key: PrivateKeyPem = read(state.content)
                load_private_key(key)
            except PkiError:
                continue
            return key
        return None

    def _keep(self, host: Host, key: PrivateKeyPem) -> PrivateKeyPem:
        """On disk before the issuer sees it: a machine that lost power in between must come again with the same key."""
        host.files.write(self.leaves[0].path, key.pem, mode=0o600, owner="root", group="root")
        return key
