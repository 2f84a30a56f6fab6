"""NodeStatus: what a node says of itself, on the node (`agent status`) and off it (`status/INSTANCE.json` in S3).

Written from the first second of a boot, also when the boot fails. It holds no secret: keys, codes, names and times.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from units.errors import Invalid
from units.manifest import problems_of

MAX_BYTES = 256_000

# booting: a run is under way. ready: the plan holds. retrying: not yet, the agent tries again by itself.
# refused: for safety, a person must decide. failed: trying again changes nothing.
Stage = Literal["booting", "ready", "retrying", "refused", "failed"]
STAGE_OF_EXIT: dict[int, Stage] = {0: "ready", 1: "failed", 2: "failed", 3: "refused", 4: "retrying"}


class Part(BaseModel):
    # A coordinator reads the status of newer agents too: unknown fields are left aside, not refused.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Condition(Part):
    """Something a person should know. `since` is RFC 3339, and stays when the same condition is seen again."""

    code: str
    message: str
    remedy: str = ""
    since: str
    severity: Literal["warning", "error"] = "error"


class Phase(Part):
    name: str
    seconds: float
    begins: float | None = None  # seconds after the kernel started; from agents that tell


class Span(Part):
    """A stretch of a boot, both ends in seconds after the kernel started; a moment has both ends alike."""

    kind: str  # machine, unit, agent, step
    name: str
    begins: float
    ends: float


class BootTimeline(Part):
    """How this boot went, as of the end of the run that brought the node up, or of the last one that tried."""

    kernel_started: str  # RFC 3339
    ready: float | None = None  # seconds after the kernel started, when the plan held
    tries: int = 1  # runs of `agent boot` so far
    cpu_seconds: float = 0.0  # of the last run, with the tools that it called
    spans: tuple[Span, ...] = ()


class ResourceState(Part):
    key: str
    status: str  # unchanged, changed, failed, skipped
    seconds: float = 0.0
    summary: str = ""


class CertificateState(Part):
    """Times are RFC 3339; `days_left` and `life_left` are as of this status, `units.expiry` tells them as of now.

    `alternative_names` are for `agent certs`; the status object leaves them out, they are half its size.
    """

    path: str
    subject: str
    issuer: str
    signer: str = ""  # of the issuer's key identifier the first 16 hex digits: an authority's successor has its name
    not_before: str = ""  # empty from agents that did not tell
    not_after: str
    days_left: int
    life_left: float  # 1.0 just issued, 0.0 expired
    renews: str  # when the agent issues it anew, or tries again to; empty for what it does not renew
    authority: bool = False  # trusted by this node, and not its own
    alternative_names: tuple[str, ...] = ()


class EtcdMemberState(Part):
    name: str  # empty while it has never started
    id: str = ""  # hexadecimal, as etcdctl prints it
    healthy: bool = False
    learner: bool = False
    version: str = ""
    revision_lag: int = 0  # how many revisions behind the newest that any member knows
    database_bytes: int = 0
    in_use_bytes: int = 0
    detail: str = ""  # why it could not be asked


class EtcdState(Part):
    """One etcd cluster as this node's member saw it at `seen`. Times are RFC 3339."""

    name: str  # main or events
    ready: bool
    detail: str = ""
    member: str = ""  # this node's
    leader: str = ""  # the leading member's name; empty without one
    term: int = 0
    revision: int = 0
    members: tuple[EtcdMemberState, ...] = ()
    alarms: tuple[str, ...] = ()  # `NOSPACE on a`
    fsync_p99_ms: float | None = None  # of the write-ahead log, since etcd started here
    volume_id: str = ""
    device: str = ""
    volume_bytes: int = 0  # of its file system; 0 from agents that did not tell
    free_bytes: int = 0
    reserve_bytes: int = 0  # kept by the agent, to be given up when the volume is full
    given_up: tuple[str, ...] = ()  # what the agent gave up for etcd's sake, the newest last
    generation: int = 0
    backup: str = ""  # the newest backup's name
    backup_at: str = ""
    backup_problem: str = ""  # why the last attempt of this node failed
    verified: str = ""  # the newest backup that was restored as a test
    verified_at: str = ""
    seen: str = ""


class NodeStatus(Part):
    format: Literal[1] = 1
    instance_id: str
    cluster: str = ""
    group: str = ""
    role: str = ""
    zone: str = ""
    private_ip: str = ""
    machine_type: str = ""
    launched: str = ""  # RFC 3339, by EC2's clock
    node_name: str = ""
    boot_id: str = ""
    stage: Stage = "booting"
    waiting_for: str = ""  # the name of the wait under way
    serial: int = 0  # of the signed release; what of it this node runs is `manifest`
    manifest: str = ""  # digest of the manifest that this node committed last
    choice: str = ""  # stable or candidate
    why: str = ""  # of the choice, in words
    candidate_waits: bool = False  # this node's turn has come, and something of its own bars it: it looks again
    drift: tuple[str, ...] = ()  # keys of what somebody changed on this node
    trust: str = ""  # Fresh, TrustDegraded, TrustStale
    metadata: dict[str, int] = {}  # TUF role -> version
    versions: dict[str, str] = {}
    conditions: tuple[Condition, ...] = ()
    phases: tuple[Phase, ...] = ()
    timeline: BootTimeline | None = None
    resources: tuple[ResourceState, ...] = ()
    certificates: tuple[CertificateState, ...] = ()
    etcd: tuple[EtcdState, ...] = ()
    converged: str = ""  # RFC 3339: when the whole plan was last checked to its end
    updated: str = ""  # RFC 3339, by the node's clock


def encode_status(status: NodeStatus) -> bytes:
    return (status.model_dump_json(indent=1) + "\n").encode()


def decode_status(data: bytes) -> NodeStatus:
    """A node writes its own object, and a stolen node writes what it likes: bounded, and only ever displayed."""
    if len(data) > MAX_BYTES:
        raise Invalid("status-too-large", f"status object of {len(data)} bytes; at most {MAX_BYTES}")
    try:
        return NodeStatus.model_validate_json(data)
    except ValidationError as error:
        raise Invalid("status-invalid", "not a status object", problems=problems_of(error)) from error
