"""One region, put together: moto behind its gateway, IMDS, the balancer and the control server, in one process."""

import functools
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from tests.lab.processes import ProcessMark
from tests.lab.region import sdk
from tests.lab.region.answers import own_answers
from tests.lab.region.balancer import API, ISSUER, Balancer, State
from tests.lab.region.control import ControlServer
from tests.lab.region.dhcp import DhcpServer
from tests.lab.region.directory import Directory
from tests.lab.region.ec2 import StrictEC2Backend
from tests.lab.region.faults import Faults
from tests.lab.region.fleet import Fleet
from tests.lab.region.gateway import Gateway
from tests.lab.region.imds import ImdsServer, Metadata
from tests.lab.region.kms import check_key_enabled
from tests.lab.region.machines import load_launch
from tests.lab.region.operations import Operations
from tests.lab.region.permissions import Permissions
from tests.lab.region.principals import Keyring
from tests.lab.region.provision import provision
from tests.lab.region.settings import ACCOUNT, OPERATOR_KEY, Network, RegionSettings, RunDirectory
from tests.lab.region.timeline import Timeline
from tests.lab.region.wiring import Wiring

LOG = logging.getLogger(__name__)
WATCH_SECONDS = 0.5
POLL_SECONDS = 0.05  # how soon a server notices that it is to end


class Server(Protocol):
    def serve_forever(self, poll_interval: float = 0.5) -> None: ...
    def shutdown(self) -> None: ...
    def server_close(self) -> None: ...


class Region:
    def __init__(self, run: RunDirectory, settings: RegionSettings, stop: Callable[[], None]) -> None:
        network = settings.network
        self._settings = settings
        self._stop = stop
        self._secret, self._token = secrets.token_urlsafe(30), secrets.token_urlsafe(30)
        self._timeline, faults = Timeline(), Faults()
        self._fleet = Fleet(run, load_launch(settings.machines))
        keyring = Keyring(self._secret, settings.region)
        self._backend = _strict_backend(Wiring(self._fleet, self._timeline, faults, settings, run))
        directory = Directory(self._backend)
        lifetime = timedelta(seconds=settings.credentials_seconds)
        metadata = Metadata(directory.at_address, keyring, faults, lifetime)
        kms = kms_backends[ACCOUNT][settings.region]
        gateway = Gateway(
            moto=DomainDispatcherApplication(create_backend_app),
            keyring=keyring,
            policies=directory.statements,
            permissions=Permissions(directory, settings.region),
            faults=faults,
            answers=own_answers(self._backend, kms, keyring, directory),
            check=functools.partial(check_key_enabled, kms),
            skew=lambda source: faults.imds(directory.instance_at(source)).skew,
        )
        operations = Operations(self._backend, directory, self._fleet, faults)
        self._api = _api_server(network, gateway)
        self._imds = ImdsServer((network.imds_host, network.imds_port), metadata)
        self._control = ControlServer(self._token, operations.table(stop))
        self._servers: list[Server] = [self._api, self._imds, self._control]
        if network.bridge:
            self._servers.append(DhcpServer(network.bridge, network.cidr, network.api_host, directory.lease))
        host = network.balancer_host
        self._ports = {
            API: network.balancer_port or _free_port(host),
            ISSUER: network.issuer_port or _free_port(host),
        }
        self._balancer = Balancer(
            run, host, self._ports, lambda: State(directory.control_plane_addresses(), faults.blocked())
        )

    def start(self) -> dict[str, Any]:
        """Serve, provision, watch. Returns all a client needs to know, secrets among it."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        network = self._settings.network
        endpoint = f"http://{network.api_host}:{self._api.server_address[1]}"
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": OPERATOR_KEY,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_DEFAULT_REGION": self._settings.region,
            "AWS_REGION": self._settings.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        operator = sdk.clients(endpoint, OPERATOR_KEY, self._secret)
        outputs = provision(operator, self._settings, self._backend.name_image)
        threading.Thread(target=self._watch, daemon=True).start()
        return {
            "pid": os.getpid(),
            "endpoint_url": endpoint,
            "environment": environment,
            "imds_url": f"http://{network.imds_host}:{self._imds.server_address[1]}",
            "balancer": f"{network.balancer_host}:{self._ports[API]}",
            "issuer": f"{network.balancer_host}:{self._ports[ISSUER]}",
            "control_url": f"http://127.0.0.1:{self._control.server_address[1]}",
            "control_token": self._token,
            "outputs": outputs,
        }

    def end(self) -> None:
        self._timeline.end()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._balancer.end()
        self._fleet.end()

    def _watch(self) -> None:
        owner = ProcessMark(*self._settings.owner) if self._settings.owner else None
        while not self._timeline.ended:
            if owner and not owner.is_alive():
                LOG.warning("process %d, whose lab this is, has ended", owner.pid)
                self._stop()
                return
            try:
                self._backend.notice_machines_that_died()
                if self._settings.balancer:
                    self._balancer.follow()
            except Exception:
                LOG.exception("watching the machines failed")
            threading.Event().wait(WATCH_SECONDS)


def _strict_backend(wiring: Wiring) -> StrictEC2Backend:
    StrictEC2Backend.wiring = wiring
    ec2_backends.backend = StrictEC2Backend
    backend = ec2_backends[ACCOUNT][wiring.settings.region]
    if not isinstance(backend, StrictEC2Backend):
        raise TypeError("moto made its own EC2 backend first: a region needs a process to itself")
    return backend


def _api_server(network: Network, gateway: Gateway) -> BaseWSGIServer:
    """On the lab's address, and on loopback too when that is another one."""
    return make_server(network.api_host, network.api_port, gateway, threaded=True, request_handler=_ApiHandler)


class _ApiHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Silent: the gateway has said more than this could."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        LOG.warning("%s %s", self.address_string(), message % args)


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])
