"""A cluster with an issuer: real TLS, real HTTP, real signatures, around doubles of AWS and of the API server."""

import json
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from agent.aws.credentials import Credentials
from agent.issuer.answers import Answer, Asked
from agent.issuer.limits import Limits
from agent.issuer.rates import Rates
from agent.issuer.rules import Rules
from agent.issuer.service import Files, Office
from agent.issuer_callback import confirming
from agent.settings import Settings
from pki.authority import Authority
from pki.certificate import combine
from pki.keys import dump_private_key, load_private_key, make_key
from pki.request import CertificateRequest
from tests.agent.issuer.aws_doubles import (
    ACCOUNT,
    PROFILE_ARN,
    REGION,
    VPC,
    AwsDouble,
    InstanceDouble,
    Reply,
    instance_identity,
)
from tests.agent.issuer.served import served
from units.issuer_config import GroupBinding, IssuerConfig

INSTANCE = "i-0aaaaaaaaaaaaaaa1"
NODE = "ip-10-99-1-5.eu-west-1.compute.internal"
RECORD = f"/demo-bucket/demo/identity/{ACCOUNT}/{REGION}/{INSTANCE}.json"


class CredentialsDouble:
    """What IMDS would give a control-plane node."""

    def __call__(self) -> Credentials:
        return Credentials("ASIACONTROLPLANE0000", "secret", "token", source="role control-plane")

    def renew(self) -> None:
        pass


@dataclass
class ApiServerDouble:
    """Nodes by name, with their Ready condition. Answers only who may `get nodes`."""

    ready: dict[str, str] = field(default_factory=dict)
    fail: Reply | None = None
    asked: list[str] = field(default_factory=list)

    def respond(self, _method: str, path: str, headers: dict[str, str], _body: bytes) -> Reply:
        self.asked.append(path)
        if self.fail:
            return self.fail
        subject = headers["subject"].split(",")
        if not {"organizationName=bootwright:agents", "commonName=bootwright:agent:cp-1"} <= set(subject):
            return Reply(403)
        status = self.ready.get(path.rpartition("/")[2])
        if status is None:
            return Reply(404)
        conditions = [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status}]
        return Reply(200, json.dumps({"kind": "Node", "status": {"conditions": conditions}}).encode())


class Journal(logging.Handler):
    """The audit lines; and all text that any logger wrote, for the log scrub."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def codes(self) -> list[str]:
        return [record.code for record in self.records if hasattr(record, "code")]

    @property
    def text(self) -> str:
        return "\n".join(f"{record.getMessage()} {vars(record)}" for record in self.records)


@dataclass
class World:
    authority: Authority
    aws: AwsDouble
    api_server: ApiServerDouble
    config: IssuerConfig
    settings: Settings
    journal: Journal
    directory: Path
    marks: list[tuple[str, str]] = field(default_factory=list)
    bundle: str = ""
    cleanup: ExitStack = field(default_factory=ExitStack)

    def asks_back(self, address: str, port: int) -> None:
        """The manifest wants N21, and EC2 reports this address of the instance."""
        self.change_instance(private_ip=address)
        self.config = self.config.model_copy(update={"callback_port": port})

    def tells(self, digest: str) -> int:
        """A machine on loopback asks for this: the port where it says so."""
        port = free_port()
        self.cleanup.enter_context(confirming(digest, port))
        return port

    @property
    def instance(self) -> InstanceDouble:
        return self.aws.ec2.instances[INSTANCE]

    def change_instance(self, **changes: object) -> None:
        self.aws.ec2.instances[INSTANCE] = replace(self.instance, **changes)

    @property
    def record(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.aws.s3.objects[RECORD])
        return found

    def files(self) -> Files:
        return Files(self.config, self.settings, self.authority, self.bundle, str(self.directory / "server.pem"))

    def office(self, rules: Rules | None = None, limits: Limits | None = None) -> Office:
        limits = limits or Limits(instance_rate=1e6, instance_burst=1e6)
        rates = Rates(limits.instance_rate, limits.instance_burst)
        return Office(
            self.files(),
            CredentialsDouble(),
            rates,
            rules=rules or Rules(),
            mark=lambda node, group: self.marks.append((node, group)),
        )

    def ask(self, asked: Asked, rules: Rules | None = None) -> Answer:
        """Without the door: one desk of an office of its own."""
        return self.office(rules).answer(asked)

    def leaf(self, profile: str, authority: Authority | None = None, **fields: object) -> bytes:
        """A combined PEM, as it lies on a node."""
        key = make_key()
        request = CertificateRequest(profile=profile, **fields)
        public = load_private_key(key).public_key()
        return combine((authority or self.authority).issue(request, public, datetime.now(UTC)), key)

    def write_credentials(self) -> Path:
        """As systemd's LoadCredential= would."""
        (self.directory / "ca.key").write_bytes(dump_private_key(self.authority.key).pem)
        (self.directory / "ca.crt").write_text(self.bundle)
        (self.directory / "issuer.json").write_text(self.config.model_dump_json())
        (self.directory / "agent.json").write_text(self.settings.model_dump_json(exclude_none=True))
        return self.directory


@contextmanager
def a_world(directory: Path, authority: Authority | None = None) -> Iterator[World]:
    authority = authority or Authority.create("kubernetes", datetime.now(UTC))
    bundle = authority.certificate.pem.decode()
    aws, api_server, journal = AwsDouble(), ApiServerDouble(), Journal()
    aws.sts.principals = {principal.akid: principal for principal in (instance_identity(INSTANCE),)}
    aws.ec2.instances = {INSTANCE: InstanceDouble(INSTANCE)}
    root = logging.getLogger()
    before = root.level
    with ExitStack() as stack:
        stack.callback(root.setLevel, before)
        stack.callback(root.removeHandler, journal)
        root.addHandler(journal)
        root.setLevel(logging.DEBUG)
        aws_url = stack.enter_context(served(aws.respond))
        world = World(authority, aws, api_server, aws_config(aws_url), node_settings(aws_url), journal, directory)
        world.bundle = bundle
        stack.callback(world.cleanup.close)
        pem = world.leaf("issuer-server", name="cp-1", ip_addresses=("127.0.0.1",), dns_names=("localhost",))
        (directory / "server.pem").write_bytes(pem)
        (directory / "api.pem").write_bytes(world.leaf("apiserver", name="cp-1", ip_addresses=("10.99.0.2",)))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(str(directory / "api.pem"))
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(cadata=bundle)
        api_url = stack.enter_context(served(api_server.respond, tls))
        world.config = world.config.model_copy(update={"api_server": api_url})
        yield world


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def aws_config(aws_url: str) -> IssuerConfig:
    return IssuerConfig(
        cluster="demo",
        uid="7f3a1c",
        account=ACCOUNT,
        partition="aws",
        region=REGION,
        vpc=VPC,
        source="instance-identity",
        sts_endpoint=aws_url,
        node_name="private-dns",
        leaf_seconds=72 * 3600,
        groups=(
            GroupBinding(name="workers", instance_profile_arn=f"{PROFILE_ARN}nodes.demo"),
            GroupBinding(name="gpu", instance_profile_arn=f"{PROFILE_ARN}gpu.demo"),
        ),
        api_server="https://127.0.0.1:1",
        issuer_name="cp-1",
    )


def node_settings(aws_url: str) -> Settings:
    return Settings(
        store="s3://demo-bucket",
        cluster="demo",
        group="cp-a",
        region=REGION,
        root_version=1,
        root_sha256="0" * 64,
        targets_version=1,
        endpoint=aws_url,
    )
