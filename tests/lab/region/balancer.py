"""The network load balancer: haproxy in TCP mode in front of the control plane's API servers and issuers."""

import logging
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.region.ledger import remember
from tests.lab.region.settings import RunDirectory

LOG = logging.getLogger(__name__)
API, ISSUER = "api", "issuer"
LISTENERS = (API, ISSUER)
TARGET_PORTS = {API: 6443, ISSUER: 3988}
# 401 counts as healthy: an API server that lets nobody in anonymously is up. An issuer counts as healthy with its
# API server: a check of its own would start the socket-activated service every second.
_CHECK = """\
    option httpchk GET /readyz
    http-check expect rstatus ^(200|401)$
    default-server check check-ssl verify none inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
"""


@dataclass(frozen=True, slots=True)
class State:
    """What the configuration follows. blocked: listener -> how it fails, "reset" (closed port) or "hang" (silence)."""

    targets: tuple[str, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)


def render_config(host: str, ports: Mapping[str, int], state: State) -> str:
    """haproxy's configuration. ports: where each of LISTENERS listens."""
    return _GLOBAL + "".join(_listener(name, host, ports[name], state) for name in LISTENERS)


def _listener(name: str, host: str, port: int, state: State) -> str:
    how = state.blocked.get(name, "")
    silence = "    tcp-request connection silent-drop\n" if how == "hang" else ""
    front = f"frontend {name}\n    bind {host}:{port}\n{silence}    default_backend {name}-targets\n"
    follows = (lambda _: "") if name == API else (lambda address: f" track {API}-targets/{address}")
    servers = "".join(
        f"    server {address} {address}:{TARGET_PORTS[name]}{follows(address)}\n" for address in state.targets
    )
    back = f"backend {name}-targets\n    balance roundrobin\n{_CHECK if name == API else ''}{servers}"
    return back if how == "reset" else front + back


_GLOBAL = """\
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
"""


class Balancer:
    """Follows `look`; a change is a reload, which keeps the connections that are open."""

    def __init__(self, run: RunDirectory, host: str, ports: Mapping[str, int], look: Callable[[], State]) -> None:
        self._config = run.path / "haproxy.cfg"
        self._ledger = run.processes
        self._log = run.path / "haproxy.log"
        self._host = host
        self._ports = ports
        self._look = look
        self._current: State | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @staticmethod
    def binary() -> str | None:
        return shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")

    def follow(self) -> None:
        """Look once and act on a change."""
        state = self._look()
        if state == self._current:
            return
        self._write(render_config(self._host, self._ports, state))
        if self._child is None or self._child.poll() is not None:
            self._start()
        else:
            self._child.send_signal(signal.SIGUSR2)  # haproxy(1): the master reloads
        LOG.info("load balancer: %s", state)
        self._current = state

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
