"""What kubelet's connection to the API server says when it is not there, not itself, or not in its right mind."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.kubelet_api import KubeletApi
from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from tests.agent.kubelet_access import kubelet_kubeconfig
from tests.units.machines import authorities
from units.errors import Retryable
from units.node_api import UNREACHABLE, NodePod

NODE = "ip-10-99-1-4.eu-west-1.compute.internal"


@contextmanager
def answering(folder: Path, status: int, content: bytes, authority: Authority) -> Iterator[str]:
    """A double of an API server that gives one answer to everything, over real TLS."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_POST = _serve  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None:
            pass

    key = make_key()
    request = CertificateRequest(profile="apiserver", name="cp", ip_addresses=("127.0.0.2",))
    issued = authority.issue(request, load_public_key(public_key_pem(key)), datetime.now(UTC))
    (folder / "server.pem").write_bytes(combine(issued, key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def api(folder: Path, status: int, content: object) -> Iterator[KubeletApi]:
    authority = authorities()["kubernetes"]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with answering(folder, status, body, authority) as url:
        yield KubeletApi(kubelet_kubeconfig(folder, authority, url, NODE))


@pytest.mark.parametrize(
    ("status", "content", "code"),
    [
        (401, {"message": "Unauthorized"}, "cluster-access-denied"),
        (403, {"message": "no"}, "cluster-access-denied"),
        (500, {"message": "etcdserver: request timed out"}, UNREACHABLE),
        (429, {"message": "too many requests"}, UNREACHABLE),
        (302, {}, "cluster-object-refused"),
        (200, b"<html>", "cluster-answer-unreadable"),
        (200, {"spec": {"renewTime": "yesterday"}}, "cluster-answer-unreadable"),
        (200, [], "cluster-answer-unreadable"),
    ],
)
def test_an_answer_that_is_none_has_its_own_code(tmp_path: Path, status: int, content: object, code: str) -> None:
    with api(tmp_path, status, content) as asked, pytest.raises(Retryable) as refused:
        asked.lease_renewed(NODE)
    assert refused.value.code == code


def test_nobody_there_is_told_from_somebody_else_there(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        ours = authorities()["kubernetes"]
        with pytest.raises(Retryable) as absent:
            KubeletApi(kubelet_kubeconfig(tmp_path, ours, url, NODE)).lease_renewed(NODE)
    assert absent.value.code == UNREACHABLE
    another = Authority.create("kubernetes", datetime.now(UTC))
    with answering(tmp_path, 200, b"{}", another) as url, pytest.raises(Retryable) as stranger:
        KubeletApi(kubelet_kubeconfig(tmp_path, ours, url, NODE)).lease_renewed(NODE)
    assert stranger.value.code == "api-server-not-trusted"


def test_a_kubeconfig_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Retryable) as refused:
        KubeletApi(tmp_path / "none").schedulable(NODE)
    assert refused.value.code == "kubeconfig-unreadable"


def test_a_pod_that_is_gone_is_evicted_and_one_that_is_kept_says_why(tmp_path: Path) -> None:
    pod = NodePod("default", "app")
    with api(tmp_path, 404, {"message": "not found"}) as asked:
        assert asked.evict(pod) == ""
    with api(tmp_path, 429, {"message": "would violate the pod's disruption budget"}) as asked:
        assert asked.evict(pod) == "would violate the pod's disruption budget"
    with api(tmp_path, 500, {"message": "more than one PodDisruptionBudget"}) as asked:
        assert asked.evict(pod) == "more than one PodDisruptionBudget"


def test_an_object_with_holes_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    with api(
        tmp_path, 200, {"items": [{"metadata": {"name": "a", "namespace": "b", "annotations": None}}, 7]}
    ) as asked:
        assert asked.pods(NODE) == (NodePod("b", "a"),)
    with api(tmp_path, 200, {"metadata": {}}) as asked:
        assert asked.schedulable(NODE) is True
