"""What etcd says no with. Told apart by gRPC code and words: HTTP statuses changed between 3.4 and 3.5."""

from units.errors import Retryable


class Unreachable(Retryable):
    """No member answered, or the answer broke off: whether the call was done is unknown."""


class EtcdRefusal(Retryable):
    """A member answered with an error. `said` is the server's own text, `grpc_code` its number (None: no gRPC)."""

    def __init__(self, code: str, message: str, *, remedy: str = "", grpc_code: int | None, said: str) -> None:
        super().__init__(code, message, remedy=remedy)
        self.grpc_code = grpc_code
        self.said = said


# The server's words -> our code and what to do (etcd api/v3rpc/rpctypes/error.go).
_KNOWN = (
    ("etcdserver: unhealthy cluster", "etcd-unhealthy-cluster", "wait until every member is healthy and connected"),
    ("etcdserver: re-configuration failed due to not enough started", "etcd-unhealthy-cluster", "start the others"),
    ("etcdserver: too many learner", "etcd-too-many-learners", "another member is joining: wait for it"),
    ("etcdserver: can only promote a learner member which is in sync", "etcd-learner-behind", "it is catching up"),
    ("etcdserver: can only promote a learner member", "etcd-not-a-learner", ""),
    ("etcdserver: member not found", "etcd-member-not-found", ""),
    ("etcdserver: member ID already exist", "etcd-member-exists", ""),
    ("Peer URLs already exists", "etcd-member-exists", ""),
    ("mvcc: database space exceeded", "etcd-no-space", "`agent etcd status`; care compacts and defragments by itself"),
    ("etcdserver: corrupt cluster", "etcd-corrupt", "never disarm it: find the bad member, replace it, or restore"),
    ("mvcc: required revision has been compacted", "etcd-compacted", ""),
    ("etcdserver: no leader", "etcd-no-quorum", "start the other members"),
    ("etcdserver: request timed out", "etcd-no-quorum", "start the other members; look at the disks' latency"),
    ("etcdserver: leader changed", "etcd-no-quorum", "this passes within seconds"),
    ("etcdserver: rpc not supported for learner", "etcd-learner", "ask a voting member"),
    ("etcdserver: server stopped", "etcd-unreachable", ""),
    ("context deadline exceeded", "etcd-no-quorum", "start the other members; look at the disks' latency"),
)
_DEADLINE_EXCEEDED = 4


def refusal(path: str, grpc_code: object, said: str) -> EtcdRefusal:
    code, remedy = "etcd-refused", ""
    if grpc_code == _DEADLINE_EXCEEDED:
        code, remedy = "etcd-no-quorum", "start the other members"
    for words, known, what_to_do in _KNOWN:
        if words in said:
            code, remedy = known, what_to_do
            break
    return EtcdRefusal(
        code,
        f"etcd refuses {path}: {said or 'without a word'} (gRPC code {grpc_code})",
        remedy=remedy,
        grpc_code=grpc_code if isinstance(grpc_code, int) else None,
        said=said,
    )
