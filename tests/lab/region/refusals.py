"""Errors in the four shapes AWS speaks, so that botocore parses the right Code out of each."""

import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

StartResponse = Callable[..., Any]  # WSGI (PEP 3333): status, headers, and sometimes exc_info

STATUS_TEXT = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Payload Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
JSON_SERVICES = frozenset({"kms"})


class Refusal(Exception):
    """What a service answers instead of doing the call."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def respond(start_response: StartResponse, status: int, body: bytes, headers: Iterable[tuple[str, str]]) -> list[bytes]:
    start_response(
        f"{status} {STATUS_TEXT.get(status, 'Unknown')}",
        [*headers, ("Content-Length", str(len(body))), ("Server", "bootwright-lab")],
    )
    return [body]


def respond_refusal(start_response: StartResponse, service: str, refusal: Refusal, *, head: bool) -> list[bytes]:
    """The error body `service` would send; none for a HEAD request."""
    request = str(uuid4())
    headers = [("x-amzn-RequestId", request)]
    if service in JSON_SERVICES:
        headers += [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", refusal.code)]
        body = json.dumps({"__type": refusal.code, "message": refusal.message}).encode()
    else:
        headers.append(("Content-Type", "application/xml" if service == "s3" else "text/xml"))
        body = _xml(service, refusal, request).encode()
    return respond(start_response, refusal.status, b"" if head else body, headers)


def _xml(service: str, refusal: Refusal, request: str) -> str:
    error = f"<Code>{escape(refusal.code)}</Code><Message>{escape(refusal.message)}</Message>"
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    if service == "s3":
        return f"{declaration}<Error>{error}<RequestId>{request}</RequestId></Error>"
    if service == "ec2":
        return (
            f"{declaration}<Response><Errors><Error>{error}</Error></Errors><RequestID>{request}</RequestID></Response>"
        )
    return (
        f"{declaration}<ErrorResponse><Error><Type>Sender</Type>{error}</Error>"
        f"<RequestId>{request}</RequestId></ErrorResponse>"
    )
