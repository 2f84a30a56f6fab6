"""What the two ends of the issuer's protocol say to each other (trust.md 2.3); nothing that only one needs."""

import base64
import json
from collections.abc import Mapping

PATH = "/v1/node-certificates"
SCHEME = "NodeSTS1 "
VERSION = 1
NODE_KEY = "kubelet-client"  # the profile whose key is the machine's identity
PROFILES = (NODE_KEY, "kubelet-server", "kube-proxy")
MAX_TOKEN = 8 * 1024
MAX_BODY = 64 * 1024
UNIFORM_CODE = "issuer-refused"  # all that a caller without a proof is ever told

# The one request that a worker signs and an issuer sends. Only the signature, its date and the token travel between.
STS_BODY = b"Action=GetCallerIdentity&Version=2011-06-15"


def bound_headers(audience: str, body_sha256: str) -> dict[str, str]:
    """Part of what is signed: a proof is good for one cluster (N7) and for one body (N8) only."""
    return {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "x-node-audience": audience,
        "x-node-request-sha256": body_sha256,
    }


def encode_token(*, akid: str, date: str, token: str, signature: str) -> str:
    """The value of the Authorization header."""
    document = {"v": VERSION, "akid": akid, "date": date, "token": token, "sig": signature}
    return SCHEME + base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def encode_body(csrs: Mapping[str, bytes]) -> bytes:
    document = {"v": VERSION, "csrs": {profile: csr.decode("ascii") for profile, csr in csrs.items()}}
    return json.dumps(document).encode()
