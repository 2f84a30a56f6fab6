from datetime import UTC, datetime
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.aws.credentials import Credentials
from agent.aws.sigv4 import encode_path, sign

KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=60)
WORDS = st.text("abcABC019-_.~", min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "DELETE"]),
    key=KEYS,
    query=st.dictionaries(WORDS, KEYS, max_size=3),
    body=st.binary(max_size=50),
    token=st.none() | WORDS,
    condition=st.none() | WORDS,
)
def test_signs_exactly_what_botocore_signs(
    method: str, key: str, query: dict[str, str], body: bytes, token: str | None, condition: str | None
) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as BotocoreCredentials

    url = f"https://bucket.s3.eu-west-1.amazonaws.com/{encode_path(key)}"
    if query:
        url += "?" + "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in query.items())
    headers = {"If-Match": condition} if condition else {}
    ours = sign(
        method,
        url,
        headers=headers,
        body=body,
        credentials=Credentials("AKIDEXAMPLE", "secret/key+", token),
        scope=("eu-west-1", "s3"),
        now=datetime.now(UTC),
    )
    oracle = S3SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", "secret/key+", token), "s3", "eu-west-1")
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    request.context["timestamp"] = ours["x-amz-date"]
    request.context["payload_signing_enabled"] = True
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    request.headers["X-Amz-Content-SHA256"] = ours["x-amz-content-sha256"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = oracle.canonical_request(request)
    to_sign = oracle.string_to_sign(request, canonical)
    assert ours["authorization"].endswith(f"Signature={oracle.signature(to_sign, request)}")
    assert f"SignedHeaders={oracle.signed_headers(oracle.headers_to_sign(request))}," in ours["authorization"]


def test_credentials_never_print() -> None:
    printed = repr(Credentials("AKID", "very-secret", "very-token"))
    assert "very-secret" not in printed
    assert "very-token" not in printed
