"""Shared objects of the cluster in S3, changed by compare-and-swap."""

from agent.aws.s3 import S3
from agent.aws.s3_errors import NoSuchKey, PreconditionFailed
from units.host import Record

_MOST = 64 * 1024


class S3Records:
    """Implements `units.host.Records` under the cluster's prefix."""

    def __init__(self, s3: S3, prefix: str) -> None:
        self._s3 = s3
        self._prefix = prefix  # ends with a slash

    def get(self, key: str) -> Record | None:
        try:
            found = self._s3.get(self._prefix + key, max_bytes=_MOST)
        except NoSuchKey:
            return None
        return Record(found.body or b"", found.etag)

    def create(self, key: str, content: bytes) -> bool:
        try:
            self._s3.put(self._prefix + key, content, if_none_match="*")
        except PreconditionFailed:
            return False
        return True

    def replace(self, key: str, content: bytes, etag: str) -> bool:
        try:
            self._s3.put(self._prefix + key, content, if_match=etag)
        except (PreconditionFailed, NoSuchKey):
            return False
        return True
