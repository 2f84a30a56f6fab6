"""A real kube-apiserver on a real etcd, as plain processes on loopback, for tests that would else believe a double."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_public_key, make_key, make_service_account_key, public_key_pem
from pki.request import CertificateRequest
from tests.real_etcd.binaries import binaries
from units.host import Probes

START_SECONDS = 90.0
REQUESTED = "KUBERNETES_BIN_DIR"


def missing() -> str:
    """Why there can be none here; empty if there can."""
    folder = os.environ.get(REQUESTED)
    if not folder:
        return f"{REQUESTED} is not set: no real kube-apiserver"
    if not (Path(folder) / "kube-apiserver").exists():
        return f"{REQUESTED}={folder} holds no kube-apiserver"
    return ""


@dataclass(frozen=True, slots=True)
class ApiServer:
    port: int
    authority: Path


@contextmanager
def running(folder: Path, authority: Authority, probes: Probes) -> Iterator[ApiServer]:
    """Ready, with Node and RBAC authorization and NodeRestriction, as our plan starts it."""
    etcd_port, peer_port, port = _free_ports(3)
    certificate = folder / "authority.crt"
    certificate.write_bytes(authority.certificate.pem)
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    etcd = [str(binaries() / "etcd"), "--name=a", f"--data-dir={folder}/etcd", "--unsafe-no-fsync"]
    etcd += [f"--{which}-client-urls={etcd_url}" for which in ("listen", "advertise")]
    etcd += [f"--listen-peer-urls=http://127.0.0.1:{peer_port}"]
    etcd += [f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"]
    etcd += [f"--initial-cluster=a=http://127.0.0.1:{peer_port}"]
    server = [
        str(Path(os.environ[REQUESTED]) / "kube-apiserver"),
        *_flags(folder, authority, certificate, etcd_url, port),
    ]
    with _process(etcd, folder / "etcd.log"), _process(server, folder / "apiserver.log"):
        _wait(probes, f"https://127.0.0.1:{port}/readyz", folder / "apiserver.log")
        yield ApiServer(port, certificate)


def _flags(folder: Path, authority: Authority, certificate: Path, etcd_url: str, port: int) -> list[str]:
    key = make_key()
    request = CertificateRequest(profile="apiserver", name="cp", ip_addresses=("127.0.0.2",))
    issued = authority.issue(request, load_public_key(public_key_pem(key)), datetime.now(UTC))
    pem, service_account = folder / "server.pem", folder / "service-account.key"
    pem.write_bytes(combine(issued, key))
    service_account.write_bytes(make_service_account_key().pem)
    return [
        "--advertise-address=127.0.0.1",
        "--authorization-mode=Node,RBAC",
        "--bind-address=127.0.0.1",
        f"--cert-dir={folder}",
        f"--client-ca-file={certificate}",
        "--enable-admission-plugins=NodeRestriction",
        "--endpoint-reconciler-type=none",
        f"--etcd-servers={etcd_url}",
        f"--secure-port={port}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={service_account}",
        f"--service-account-signing-key-file={service_account}",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--tls-cert-file={pem}",
        f"--tls-private-key-file={pem}",
    ]


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    """Ended by its own id."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(probes: Probes, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (answer := probes.get(url)) is None or answer.status != 200:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url}: {answer}; {log.read_text()[-2000:]}")
        time.sleep(0.5)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
