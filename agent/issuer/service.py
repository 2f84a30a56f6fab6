"""`agent issuer` under systemd: its credentials, its desks, its server."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent.aws.imds import Imds
from agent.issuer.answers import Answer, Asked
from agent.issuer.api_server import ApiServer
from agent.issuer.claims import Claims
from agent.issuer.desk import Desk, Mark
from agent.issuer.ec2_instances import Ec2Instances
from agent.issuer.https import server_context
from agent.issuer.ledger import Ledger
from agent.issuer.limits import Limits
from agent.issuer.marks import mark_issued
from agent.issuer.rates import Rates
from agent.issuer.rules import Rules
from agent.issuer.server import Server
from agent.issuer.signing import Signing
from agent.issuer.store import SharedCredentials, records
from agent.issuer.sts import Sts
from agent.linux.notify import Notifier
from agent.settings import Settings, decode
from pki.authority import Authority
from pki.chain import load_authorities
from pki.errors import PkiError
from pki.keys import PrivateKeyPem, load_private_key, spki_sha256
from units.errors import Fatal
from units.issuer_config import IssuerConfig, decode_issuer_config

_MAX_FILE = 1024 * 1024
_REMEDY = "agent diff; then systemctl restart bootwright-issuer.socket"


@dataclass(frozen=True, slots=True)
class Files:
    """What systemd hands over, each file by its name in the unit's LoadCredential=."""

    config: IssuerConfig
    settings: Settings
    authority: Authority
    bundle_pem: str
    server_pem_path: str

    @classmethod
    def read(cls, directory: Path) -> "Files":
        """Fatal or Invalid names the file."""

        def content(name: str) -> bytes:
            try:
                with (directory / name).open("rb") as file:
                    return file.read(_MAX_FILE)
            except OSError as error:
                raise Fatal("issuer-credentials", f"{directory / name}: {error.strerror}", remedy=_REMEDY) from error

        bundle = content("ca.crt")
        return cls(
            config=decode_issuer_config(content("issuer.json")),
            settings=decode(content("agent.json"), source="agent.json"),
            authority=signing_authority(bundle, PrivateKeyPem(content("ca.key"))),
            bundle_pem=bundle.decode(),
            server_pem_path=str(directory / "server.pem"),
        )


def signing_authority(bundle: bytes, key: PrivateKeyPem) -> Authority:
    """The authority of the bundle that the key belongs to: while one replaces another, both are in there."""
    try:
        own = spki_sha256(load_private_key(key).public_key())
        for certificate in load_authorities(bundle):
            if certificate.spki_sha256 == own:
                return Authority(certificate, load_private_key(key))
    except PkiError as error:
        raise Fatal("issuer-credentials", f"ca.key and ca.crt: {error}", remedy=_REMEDY) from error
    raise Fatal("issuer-credentials", "ca.key belongs to no certificate in ca.crt", remedy=_REMEDY)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Office:
    """Makes the desk of each thread: HTTP clients are for one thread, everything else is shared."""

    files: Files
    credentials: SharedCredentials
    instance_rates: Rates
    rules: Rules = field(default_factory=Rules)
    mark: Mark = mark_issued
    now: Callable[[], datetime] = _utc_now
    _local: threading.local = field(default_factory=threading.local)

    def answer(self, asked: Asked) -> Answer:
        desk: Desk | None = getattr(self._local, "desk", None)
        if desk is None:
            desk = self._local.desk = self.desk()
        return desk.answer(asked)

    def desk(self) -> Desk:
        files, config = self.files, self.files.config
        settings, credentials = files.settings, self.credentials
        ledger = Ledger(config, records(settings, config.region, credentials))
        api_server = ApiServer(config, files.authority, files.bundle_pem, self.now)
        return Desk(
            config=config,
            rules=self.rules,
            sts=Sts(config),
            ec2=Ec2Instances(config.region, credentials, endpoint=settings.endpoint, renew=credentials.renew),
            claims=Claims(ledger, api_server.is_ready, self.rules),
            signing=Signing(files.authority, config.leaf_seconds),
            instance_rates=self.instance_rates,
            mark=self.mark,
            now=self.now,
        )


def serve(
    sockets: Sequence[socket.socket],
    directory: Path,
    *,
    limits: Limits | None = None,
    imds: Imds | None = None,
    mark: Mark = mark_issued,
) -> None:
    """Until nobody has come for a minute."""
    limits = limits or Limits()
    files = Files.read(directory)
    rates = Rates(limits.instance_rate, limits.instance_burst)
    office = Office(files, SharedCredentials(imds or Imds()), rates, mark=mark)
    server = Server(sockets, server_context(files.server_pem_path, files.bundle_pem), office.answer, limits)
    Notifier().ready(f"issues certificates of {files.config.cluster}")
    asyncio.run(server.run())
    Notifier().stopping()
