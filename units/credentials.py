"""Certificate, SecretFile and kubeconfigs: who a component is, and how it proves it."""

from dataclasses import dataclass, field

from pki.certificate import combine, load_certificate
from pki.errors import PkiError
from pki.keys import PrivateKeyPem, load_private_key, load_public_key, make_key, public_key_pem, spki_sha256
from pki.renewal import problems
from pki.request import CertificateRequest
from units.errors import Refused
from units.files import File
from units.host import Host
from units.render import yaml_text
from units.resource import Change, Description


@dataclass(frozen=True, slots=True)
class Certificate:
    """One PEM with certificate chain and private key, renewed at 60 % of its life.

    One file because a pair in two files has a moment in which they do not match, and then every handshake fails
    (measured, etcd-pki.md 3.4). Every component takes the same path for its certificate and its key.
    """

    path: str
    request: CertificateRequest
    bundle: str = field(repr=False)  # PEM: the authority that must have signed it; while one is replaced, the new one
    jitter_key: str  # spreads renewals over the fleet: the instance id
    owner: str = "root"
    group: str = "root"

    @property
    def key(self) -> str:
        return f"certificate:{self.path}"

    def check(self, host: Host) -> Change | None:
        state = host.files.read(self.path)
        if state is None or state.content is None:
            return Change("issue")
        wrong = problems(state.content, self.request, self.bundle.encode(), host.clock.now(), self.jitter_key)
        if wrong:
            return Change(f"issue again: {'; '.join(wrong)}")
        if (state.mode, state.owner, state.group) != (0o600, self.owner, self.group):
            return Change(f"attributes of {state.owner}:{state.group} {state.mode:04o}")
        return None

    def apply(self, host: Host) -> None:
        key = make_key()
        certificate = host.secrets.issue(self.request, public_key_pem(key))
        content = combine(certificate, key)
        host.files.write(self.path, content, mode=0o600, owner=self.owner, group=self.group)

    def describe(self) -> Description:
        request = self.request
        return Description(
            self.key,
            (
                f"profile {request.profile}, signed by {request.authority}",
                f"subject CN={request.common_name} O={','.join(request.organizations) or '-'}",
                f"dns {' '.join(request.dns_names) or '-'}",
                f"ip {' '.join(request.ip_addresses) or '-'}",
                f"lifetime {request.lifetime}",
                f"0600 {self.owner}:{self.group}",
            ),
        )


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A private key of the cluster, in memory-backed storage only: opened from its envelope after every boot."""

    path: str  # under /run
    name: str  # of the envelope: secrets/control-plane/NAME.json
    public: str = field(repr=False)  # PEM public key or certificate it must belong to

    @property
    def key(self) -> str:
        return f"secret:{self.path}"

    def check(self, host: Host) -> Change | None:
        state = host.files.read(self.path)
        if state is None or state.content is None:
            return Change(f"open {self.name}")
        if not self._belongs(state.content):
            return Change(f"open {self.name} again: it does not belong to the signed public half")
        if (state.mode, state.owner, state.group) != (0o600, "root", "root"):
            return Change(f"attributes of {state.owner}:{state.group} {state.mode:04o}")
        return None

    def apply(self, host: Host) -> None:
        content = host.secrets.open(self.name)
        if not self._belongs(content):
            raise Refused(
                "secret-mismatch",
                f"the envelope {self.name!r} opens, but its key does not belong to the signed public half",
                remedy="somebody replaced the envelope, or it was restored from another time: restore the version "
                "that was written together with the published manifest",
            )
        host.files.write(self.path, content, mode=0o600, owner="root", group="root")

    def describe(self) -> Description:
        return Description(self.key, (f"from the envelope {self.name}", "0600 root:root"))

    def _belongs(self, content: bytes) -> bool:
        public = self.public.encode()
        expected = load_certificate(public).public_key if b"CERTIFICATE" in public else load_public_key(public)
        try:
            return spki_sha256(load_private_key(PrivateKeyPem(content)).public_key()) == spki_sha256(expected)
        except PkiError:
            return False


def kubeconfig(path: str, *, server: str, authority: str, credential: str, user: str) -> File:
    """A kubeconfig that names files, so that client-go reloads renewed ones within 5 min (etcd-pki.md 3.4)."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default", "cluster": {"certificate-authority": authority, "server": server}}],
        "users": [{"name": user, "user": {"client-certificate": credential, "client-key": credential}}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": user}}],
        "current-context": "default",
    }
    return File(path, yaml_text(content), mode=0o600, kind="kubeconfig")
