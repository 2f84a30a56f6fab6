"""AWS on loopback for measurements: moto behind TLS, as S3 and KMS are, and the lab's IMDSv2. Counts every request.

It runs in threads of the measuring process; what is measured is always another process.
"""

import collections
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import trustme
from moto.moto_api._internal import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.lab.region.faults import Faults
from tests.lab.region.imds import ImdsServer, Metadata
from tests.lab.region.metadata import InstanceView
from tests.lab.region.principals import Keyring
from tests.lab.region.settings import ACCOUNT

REGION = "eu-west-1"
ZONE = f"{REGION}a"
BUCKET = "bench-clusters"
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

INSTANCE = InstanceView(
    id="i-0123456789abcdef0",
    image_id="ami-0f1e2d3c4b5a69788",
    instance_type="m7g.large",
    architecture="x86_64",
    zone=ZONE,
    zone_id="euw1-az1",
    region=REGION,
    private_ip="10.99.0.10",
    hostname=f"ip-10-99-0-10.{REGION}.compute.internal",
    mac="0a:00:00:00:00:01",
    interface_id="eni-0123456789abcdef0",
    subnet_id="subnet-0aa0aa0aa0aa0aa01",
    subnet_cidr="10.99.0.0/22",
    vpc_id="vpc-0d1d2d3d4d5d6d7d8",
    vpc_cidr="10.99.0.0/20",
    security_groups=(("sg-0123456789abcdef0", "nodes"),),
    reservation_id="r-0123456789abcdef0",
    launch_index=0,
    launched="2026-01-01T00:00:00Z",
    profile_arn=f"arn:aws:iam::{ACCOUNT}:instance-profile/control-plane",
    profile_id="AIPABWBENCH",
    role="control-plane",
    key_name="",
    public_key="",
    user_data=None,
    tags={},
    tokens_required=True,
    endpoint_enabled=True,
    hop_limit=1,
)


class _Handler(MotoRequestHandler):
    """Keeps connections alive, as S3 does. werkzeug's own way ends each after a pause of 10 ms, and a new TLS
    connection costs its client 30 ms of CPU."""

    disable_nagle_algorithm = True  # head and body are two writes: 40 ms of delayed ACK else, which S3 has not
    protocol_version = "HTTP/1.1"

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        stream = environ["wsgi.input"]
        size = -1 if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(stream.read(size))  # all of it, or the rest would be the next request
        head: list[tuple[str, list[tuple[str, str]]]] = []
        application: Any = self.server.app
        body = b"".join(application(environ, lambda status, headers, _exc=None: head.append((status, headers))))
        status, headers = head[-1]
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log(self, *_: object) -> None:
        pass


class Cloud:
    """Running servers. `endpoint` is S3's and KMS's; `authorities` is a CA bundle of the system's and theirs."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.authorities = directory / "authorities.pem"
        system = SYSTEM_AUTHORITIES.read_bytes() if SYSTEM_AUTHORITIES.exists() else b""
        self.authorities.write_bytes(system + authority.cert_pem.bytes())
        self._requests: collections.Counter[str] = collections.Counter()
        self._instance = INSTANCE
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        self._moto = make_server(
            "127.0.0.1", 0, self._counting(), threaded=True, request_handler=_Handler, ssl_context=tls
        )
        keyring = Keyring("not-a-secret", REGION)
        metadata = Metadata(lambda _address: (self._instance, "AROABWBENCH"), keyring, Faults(), timedelta(hours=6))
        self._imds = _CountingImds(("127.0.0.1", 0), metadata, self._requests)
        self.endpoint = f"https://127.0.0.1:{self._moto.server_port}"
        self.imds_url = f"http://127.0.0.1:{self._imds.server_port}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.issuer_port: int = free.getsockname()[1]  # of `tests.bench.issuer_double`; the spec names it
        self._servers = (self._moto, self._imds)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        moto_api_backend.reset()  # its buckets and keys are the process's, whichever server shows them

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this cloud and no other."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": str(self.authorities),
            "SSL_CERT_FILE": str(self.authorities),
        }

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            verify=str(self.authorities),
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="not-a-secret",
        )

    def make_key(self) -> str:
        """The ARN of a new symmetric KMS key."""
        return str(self.client("kms").create_key(Description="bench")["KeyMetadata"]["Arn"])

    def set_user_data(self, text: str) -> None:
        self._instance = replace(self._instance, user_data=text.encode())

    @contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """Requests while the block runs, by `s3 GET`, `imds PUT`, ...; filled in when it ends."""
        found: dict[str, int] = {}
        self._requests.clear()
        yield found
        found.update(self._requests)

    def _counting(self) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
        moto = DomainDispatcherApplication(create_backend_app)

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            target = environ.get("HTTP_X_AMZ_TARGET", "")
            service = "kms" if target.startswith("TrentService") else "s3"
            # How often a status is sent depends on how long a run takes: told apart from what is exact.
            what = " status" if "/status/" in environ.get("PATH_INFO", "") else ""
            self._requests[f"{service} {target.partition('.')[2] or environ['REQUEST_METHOD']}{what}"] += 1
            answer: Iterable[bytes] = moto(environ, start_response)
            return answer

        return application


class _CountingImds(ImdsServer):
    def __init__(self, address: tuple[str, int], metadata: Metadata, requests: "collections.Counter[str]") -> None:
        self._requests = requests
        super().__init__(address, metadata)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._requests["imds"] += 1  # one connection is one request: IMDS closes each
        super().process_request(request, client_address)


@contextmanager
def running_cloud(directory: Path) -> Iterator[Cloud]:
    cloud = Cloud(directory)
    try:
        yield cloud
    finally:
        cloud.close()
