"""One API request, read once: which service, which action, on which object, with which body."""

import hashlib
import json
from contextvars import ContextVar
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qs, unquote

from tests.lab.region.refusals import Refusal

FORM_LIMIT = 1 << 20  # no query or JSON call of ours comes near a megabyte
OBJECT_LIMIT = 5 << 30  # S3's own limit for one PUT
MEMORY_LIMIT = 8 << 20
# Sub-resources of a bucket, by their query parameter, as IAM names them.
BUCKET_PARTS = {
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
    "object-lock": "BucketObjectLockConfiguration",
    "policy": "BucketPolicy",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
}

Environ = dict[str, Any]
# moto hands its backends only some parameters (DetachVolume's Force is lost): they look the rest up here.
CURRENT_CALL: ContextVar["Call | None"] = ContextVar("CURRENT_CALL", default=None)


@dataclass(frozen=True, slots=True)
class Call:
    """headers: lower-case names. `form` holds a query call's parameters, `document` a JSON call's."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    source: str
    service: str
    action: str
    body_sha256: str
    body: IO[bytes] = field(repr=False)
    form: dict[str, str] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    bucket: str = ""
    key: str = ""

    @property
    def resource(self) -> str:
        """The ARN that policies and faults match on; "*" where the lab does not tell resources apart."""
        if self.service == "s3" and self.bucket:
            return f"arn:aws:s3:::{self.bucket}/{self.key}" if self.key else f"arn:aws:s3:::{self.bucket}"
        key = self.document.get("KeyId")
        return str(key) if self.service == "kms" and key else "*"


def read_call(environ: Environ) -> Call:
    """Consumes the request body and leaves `wsgi.input` at the start of a copy of it."""
    headers = _headers(environ)
    raw = str(environ.get("REQUEST_URI") or environ.get("RAW_URI") or "/")
    path, _, query = raw.partition("?")
    service = _service(headers, query, path)
    digest, body = _body(environ, OBJECT_LIMIT if service == "s3" else FORM_LIMIT)
    form: dict[str, str] = {}
    document: dict[str, Any] = {}
    bucket = key = ""
    method = str(environ["REQUEST_METHOD"])
    if service == "s3":
        bucket, _, key = unquote(path.lstrip("/")).partition("/")
        action = _s3_action(method, key, query)
    elif "x-amz-target" in headers:
        action = headers["x-amz-target"].rpartition(".")[2]
        document = _document(body)
    else:
        form = _form(query, body)
        action = form.get("Action", "")
    return Call(
        method=method,
        path=path,
        query=query,
        headers=headers,
        source=str(environ.get("REMOTE_ADDR", "")),
        service=service,
        action=action,
        body_sha256=digest,
        body=body,
        form=form,
        document=document,
        bucket=bucket,
        key=key,
    )


def _headers(environ: Environ) -> dict[str, str]:
    headers = {
        name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = str(environ[name])
    return headers


def _service(headers: dict[str, str], query: str, path: str) -> str:
    scope = headers.get("authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    if len(scope) == 5:
        return scope[3].lower()
    if headers.get("x-amz-target", "").startswith("TrentService."):
        return "kms"
    if "Action=" in query or headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return "ec2" if path == "/" and "2016-11-15" in query else "sts"
    return "s3"


def _body(environ: Environ, limit: int) -> tuple[str, IO[bytes]]:
    source = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH")
    left = int(length) if length else (limit + 1 if environ.get("wsgi.input_terminated") else 0)
    if length and left > limit:
        raise Refusal("EntityTooLarge", f"body of {left} bytes; the limit is {limit}", 413)
    copy = SpooledTemporaryFile(max_size=MEMORY_LIMIT)  # noqa: SIM115 - lives as long as the request
    digest = hashlib.sha256()
    while left > 0 and (chunk := source.read(min(left, 1 << 20))):
        digest.update(chunk)
        copy.write(chunk)
        left -= len(chunk)
    environ["CONTENT_LENGTH"] = str(copy.tell())
    copy.seek(0)
    environ["wsgi.input"] = copy
    return digest.hexdigest(), copy


def _s3_action(method: str, key: str, query: str) -> str:
    if not key:
        part = BUCKET_PARTS.get(query.partition("=")[0].partition("&")[0])
        if part:
            return {"GET": "Get", "PUT": "Put"}.get(method, "Delete") + part
        return {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket"}.get(method, "DeleteBucket")
    if method == "POST":
        return "PutObject" if "upload" in query else "RestoreObject"
    if method == "DELETE" and "uploadId=" in query:
        return "AbortMultipartUpload"
    return {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject"}.get(method, "DeleteObject")


def _form(query: str, body: IO[bytes]) -> dict[str, str]:
    text = body.read().decode("utf-8", "replace")
    body.seek(0)
    fields = parse_qs(text, keep_blank_values=True) | parse_qs(query, keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _document(body: IO[bytes]) -> dict[str, Any]:
    try:
        document = json.load(body)
    except ValueError:
        raise Refusal("SerializationException", "the request body is no JSON") from None
    finally:
        body.seek(0)
    return document if isinstance(document, dict) else {}
