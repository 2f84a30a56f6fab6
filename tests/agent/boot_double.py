"""NodeDouble: everything that a boot needs, in memory: a real plan on a MemoryHost, real authorities, no AWS."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.aws.imds import Instance
from agent.aws.s3_listing import Listed
from agent.linux.machine import MachineFacts
from agent.reporter import Reporter
from agent.rollout_store import RolloutStore
from agent.settings import Settings
from agent.trust import Condition, VerifiedRelease
from pki.authority import Authority
from pki.keys import dump_private_key, make_key, public_key_pem
from pki.profiles import AUTHORITIES
from tests.units.sample import manifest
from units.envelope import SERVICE_ACCOUNT, authority_secret
from units.errors import BootwrightError, Retryable
from units.generations import Generations
from units.host import Host
from units.manifest import Authority as PublicAuthority
from units.manifest import Manifest, Release, Trust, encode_release
from units.memory import MemoryClock, MemoryHost, MemorySecrets
from units.status import CertificateState, NodeStatus

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SETTINGS = Settings(
    store="s3://bucket",
    cluster="prod.example.com",
    group="cp-a",
    root_version=1,
    root_sha256="0" * 64,
    targets_version=1,
)


def instance() -> Instance:
    return Instance(
        instance_id="i-0123456789abcdef0",
        region="eu-west-1",
        zone="eu-west-1a",
        machine_type="m6i.large",
        architecture="amd64",
        account_id="111122223333",
        image_id="ami-1",
        private_ip="10.99.1.4",
        local_hostname="ip-10-99-1-4.eu-west-1.compute.internal",
    )


def machine_facts() -> MachineFacts:
    return MachineFacts(
        memory_bytes=8 * 1024**3,
        cpus=2,
        architecture="amd64",
        kernel="6.12.0",
        containerd_version=(2, 3),
        etcd_version=(3, 6),
        resolved_active=False,
        cgroup_v2=True,
        time_synchronised=True,
    )


@dataclass
class StoreDouble:
    """What a node asks S3 about a rollout, in memory. `silent`: it does not answer."""

    objects: dict[str, bytes] = field(default_factory=dict)
    silent: bool = False

    def list(self, prefix: str, *, most: int) -> tuple[Listed, ...]:
        if self.silent:
            raise Retryable("s3-unreachable", "no answer")
        found = tuple(Listed(key, len(body), NOW) for key, body in self.objects.items() if key.startswith(prefix))
        assert len(found) <= most
        return found

    def put(self, key: str, body: bytes, *, if_match: str | None = None, if_none_match: str | None = None) -> str:
        del if_match, if_none_match
        self.objects[key] = body
        return "etag"


@dataclass
class NodeDouble:
    """`fail_at` names a step of `agent.boot.Node` that raises `error` instead."""

    fail_at: str = ""
    error: BootwrightError | None = None
    condition: Condition = Condition.FRESH
    facts: MachineFacts = field(default_factory=machine_facts)
    written: list[NodeStatus] = field(default_factory=list)
    published: list[NodeStatus] = field(default_factory=list)
    release: Release | None = None
    store: StoreDouble = field(default_factory=StoreDouble)
    ahead: float | None = None

    def __post_init__(self) -> None:
        clock = MemoryClock(at=NOW)
        authorities = {name: Authority.create(name, NOW) for name in AUTHORITIES}
        service_account = make_key()
        keys = {authority_secret(name): dump_private_key(one.key) for name, one in authorities.items()}
        secrets = MemorySecrets(dict(authorities), {**keys, SERVICE_ACCOUNT: service_account}, NOW)
        self.memory = MemoryHost(secrets, clock)
        trust = Trust(
            authorities=tuple(
                PublicAuthority(name=name, bundle=one.certificate.pem.decode()) for name, one in authorities.items()
            ),
            service_account_keys=(public_key_pem(service_account).decode(),),
            service_account_issuer="https://api.internal.prod.example.com:6443",
            secrets_key="local:0123456789abcdef",
        )
        self.manifest = manifest("control-plane", trust=trust)
        self.reporter = Reporter(NodeStatus(instance_id=""), clock, self.written.append)

    def instance(self) -> Instance:
        self._maybe_fail("instance")
        return instance()

    def clock_ahead(self) -> float | None:
        return self.ahead

    def machine(self) -> MachineFacts:
        return self.facts

    def enrolment(self) -> Settings:
        self._maybe_fail("enrolment")
        return SETTINGS

    def connect(self, settings: Settings, _instance: Instance) -> None:
        assert settings == SETTINGS
        self.reporter.publish = self.published.append

    def verified_release(self) -> VerifiedRelease:
        self._maybe_fail("verified_release")
        release = self.release or Release(serial=7, published="2026-06-01T00:00:00Z", stable=self.manifest)
        return VerifiedRelease(encode_release(release), {"root": 1, "targets": 3}, NOW, self.condition, "details")

    def host(self, _manifest: Manifest) -> Host:
        self._maybe_fail("host")
        return self.memory.host

    def rollout_store(self) -> RolloutStore:
        return RolloutStore(self.store, "clusters/", SETTINGS.group)

    def certificates(self, _jitter_key: str) -> tuple[CertificateState, ...]:
        return ()

    @property
    def committed(self) -> Manifest | None:
        """What this machine runs, as its disk has it."""
        return Generations(self.memory.files).current

    def _maybe_fail(self, step: str) -> None:
        if step == self.fail_at:
            assert self.error is not None
            raise self.error
