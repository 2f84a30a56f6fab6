"""The store in S3."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coordinator.aws.session import Aws, error_code, translated
from coordinator.store import MAX_OBJECT_BYTES, Conflict, Listed, Progress, Stored, no_progress
from units.errors import Fatal, Retryable

# S3 answers 409 while another conditional write to the key is in flight; its documentation says to try again.
CONFLICT_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8)
_PRECONDITION = frozenset({"PreconditionFailed", "412"})
_CONFLICTING = frozenset({"ConditionalRequestConflict", "OperationAborted", "409"})
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_MULTIPART_BYTES = 16 * 1024 * 1024


class S3Store:
    """One cluster's folder in a bucket. Safe to share among threads."""

    def __init__(
        self, aws: Aws, bucket: str, prefix: str, *, client: Any = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client or aws.client("s3")
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/"
        self._sleep = sleep

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> Stored | None:
        from botocore.exceptions import ClientError

        with translated("s3:GetObject", self._arn(key)):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise
            with answer["Body"] as stream:
                body = stream.read(limit + 1)
        if len(body) > limit:
            raise Fatal("object-too-large", f"{self.url}/{key}: more than {limit} bytes, which is the most allowed")
        return Stored(body, answer["ETag"])

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        conditions = ({"IfNoneMatch": "*"} if if_none_match else {}) | ({"IfMatch": if_match} if if_match else {})
        # Computed here, not by the SDK: what is damaged on the way is refused by S3 and never stored.
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        for wait in (*CONFLICT_WAITS, None):
            etag = self._put_once(key, body, conditions, checksum)
            if etag is not None:
                return etag
            if wait is not None:
                self._sleep(wait)
        raise Retryable(
            "store-busy",
            f"{self.url}/{key}: S3 still says 409, another write to this object is in flight",
            remedy="run the command again",
        )

    def _put_once(self, key: str, body: bytes, conditions: dict[str, str], checksum: str) -> str | None:
        """The new etag, or None on a 409."""
        from botocore.exceptions import ClientError

        with translated("s3:PutObject", self._arn(key)):
            try:
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + key, Body=body, ChecksumSHA256=checksum, **conditions
                )
            except ClientError as error:
                code = error_code(error)
                if conditions and code in _CONFLICTING:
                    return None
                if "IfNoneMatch" in conditions and code in _PRECONDITION:
                    raise Conflict(f"{self.url}/{key}", "exists already") from error
                # An object that is gone answers If-Match with 404.
                if "IfMatch" in conditions and code in _PRECONDITION | _MISSING:
                    raise Conflict(f"{self.url}/{key}", "was changed by somebody else since it was read") from error
                raise
        return str(answer["ETag"])

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Progress = no_progress) -> None:
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import ClientError

        # Each part carries its own checksum; the whole is named by its hash, and every node checks that hash.
        extra = {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": sha256}}
        config = TransferConfig(multipart_threshold=_MULTIPART_BYTES, multipart_chunksize=_MULTIPART_BYTES)
        with translated("s3:PutObject", self._arn(key)):
            try:
                self._client.upload_file(
                    str(path), self._bucket, self._prefix + key, ExtraArgs=extra, Callback=progress, Config=config
                )
            except S3UploadFailedError as error:
                if isinstance(error.__context__, ClientError):
                    raise error.__context__ from error
                raise Fatal("store-upload-failed", f"{path} -> {self.url}/{key}: {error}") from error

    def delete(self, key: str) -> None:
        with translated("s3:DeleteObject", self._arn(key)):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def size(self, key: str) -> int | None:
        from botocore.exceptions import ClientError

        with translated("s3:GetObject", self._arn(key)):
            try:
                return int(self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)["ContentLength"])
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise

    def list(self, prefix: str) -> Iterator[Listed]:
        with translated("s3:ListBucket", f"arn:aws:s3:::{self._bucket}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield Listed(item["Key"].removeprefix(self._prefix), item["Size"], item["LastModified"])

    def _arn(self, key: str) -> str:
        return f"arn:aws:s3:::{self._bucket}/{self._prefix}{key}"
