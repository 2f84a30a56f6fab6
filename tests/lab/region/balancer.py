"""The network load balancer: haproxy in TCP mode in front of the control plane's API servers."""

import logging
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.lab.region.ledger import remember
from tests.lab.region.settings import RunDirectory

LOG = logging.getLogger(__name__)
TARGET_PORT = 6443


def render_config(host: str, port: int, targets: tuple[str, ...], target_port: int = TARGET_PORT) -> str:
    """haproxy's configuration. 401 counts as healthy: an API server that lets nobody in anonymously is up."""
    servers = "".join(f"    server {address} {address}:{target_port}\n" for address in targets)
    return f"""\
global
    log stderr format raw local0 notice
    maxconn 512
defaults
    mode tcp
    log global
    option redispatch
    retries 3
    timeout connect 3s
    timeout client 350s
    timeout server 350s
    timeout check 3s
frontend kubernetes-api
    bind {host}:{port}
    default_backend control-plane
backend control-plane
    balance roundrobin
    option httpchk GET /readyz
    http-check expect rstatus ^(200|401)$
    default-server check check-ssl verify none inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
{servers}"""


class Balancer:
    """Follows `targets`; a change is a reload, which keeps the connections that are open."""

    def __init__(self, run: RunDirectory, host: str, port: int, targets: Callable[[], tuple[str, ...]]) -> None:
        self._config = run.path / "haproxy.cfg"
        self._ledger = run.processes
        self._log = run.path / "haproxy.log"
        self._host = host
        self._port = port
        self._targets = targets
        self._current: tuple[str, ...] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @staticmethod
    def binary() -> str | None:
        return shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")

    def follow(self) -> None:
        """Look at the targets once and act on a change."""
        targets = self._targets()
        if targets == self._current:
            return
        self._write(render_config(self._host, self._port, targets))
        if self._child is None or self._child.poll() is not None:
            self._start()
        else:
            self._child.send_signal(signal.SIGUSR2)  # haproxy(1): the master reloads
        LOG.info("load balancer targets: %s", ", ".join(targets) or "none")
        self._current = targets

    def end(self) -> None:
        if self._child and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def _start(self) -> None:
        binary = self.binary()
        if binary is None:
            raise FileNotFoundError("haproxy is not installed: apt-get install haproxy")
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [binary, "-W", "-f", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        remember(self._ledger, self._child.pid, "haproxy")

    def _write(self, text: str) -> None:
        fresh = Path(f"{self._config}.new")
        fresh.write_text(text)
        fresh.replace(self._config)
