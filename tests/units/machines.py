"""Machines in memory for these tests: manifests whose authorities we hold the keys of, power cuts, relaunches."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

from pki.authority import Authority
from pki.keys import PrivateKeyPem, dump_private_key, make_key, public_key_pem
from pki.profiles import AUTHORITIES, AuthorityName
from tests.units.sample import manifest as sample_manifest
from units.envelope import SERVICE_ACCOUNT, authority_secret
from units.facts import NodeFacts, sample_facts
from units.host import Host
from units.manifest import Authority as PublicAuthority
from units.manifest import Manifest
from units.memory import MemoryClock, MemoryFiles, MemoryHost, MemorySecrets

NOW = MemoryClock().at
FACTS = sample_facts(zone="eu-west-1a", region="eu-west-1")


@cache
def authorities() -> dict[AuthorityName, Authority]:
    return {name: Authority.create(name, NOW) for name in AUTHORITIES}


@cache
def service_account() -> PrivateKeyPem:
    return make_key()  # a P-256 one: an RSA key takes 17 ms to load, and these tests load it thousands of times


@cache
def secrets() -> MemorySecrets:
    keys = {authority_secret(name): dump_private_key(authority.key) for name, authority in authorities().items()}
    return MemorySecrets(dict(authorities()), {**keys, SERVICE_ACCOUNT: service_account()}, NOW)


def ours(manifest: Manifest) -> Manifest:
    """The same manifest, under authorities that `secrets()` can sign with."""
    trust = manifest.trust.model_copy(
        update={
            "authorities": tuple(
                PublicAuthority(name=a.name, bundle=authorities()[a.name].certificate.pem.decode())
                for a in manifest.trust.authorities
            ),
            "service_account_keys": (public_key_pem(service_account()).decode(),)
            if manifest.trust.service_account_keys
            else (),
        }
    )
    return manifest.model_copy(update={"trust": trust})


def manifest(role: str = "control-plane", **changes: object) -> Manifest:
    return ours(sample_manifest(role, **changes))


def facts(**changes: Any) -> NodeFacts:
    return dataclasses.replace(FACTS, **changes)


def empty_machine() -> MemoryHost:
    return MemoryHost(secrets())


def rebooted(machine: MemoryHost) -> MemoryHost:
    """The machine after a power cut: what lay in memory is gone, its disk and its attached volumes are not."""
    disk = {path: state for path, state in machine.files.entries.items() if not path.startswith("/run/")}
    files = MemoryFiles(disk, dict(machine.files.assets), protected=set(machine.files.protected))
    after = dataclasses.replace(
        machine,
        files=files,
        kernel=type(machine.kernel)(),
        clock=MemoryClock(machine.clock.at, machine.clock.ticks),
    )
    after.systemd.active.add("containerd.service")  # Debian enables it
    after.systemd.reboots = machine.systemd.reboots
    after.node_api = dataclasses.replace(machine.node_api, systemd=after.systemd, clock=after.clock)
    return after


def relaunched(machine: MemoryHost) -> MemoryHost:
    """Another machine in its place: an empty disk; the volumes and the records are the cluster's."""
    volumes = dataclasses.replace(machine.volumes, attached={})
    return MemoryHost(machine.secrets, volumes=volumes, records=machine.records)


class Killed(BaseException):
    """A double of SIGKILL: no handler for errors may see it."""


# Every port method that changes something, in the machine or outside it. `test_every_port_method_is_classified` keeps
# it complete.
CHANGING: dict[str, frozenset[str]] = {
    "files": frozenset({"write", "set_attributes", "make_directory", "symlink", "install", "remove", "sweep"}),
    "systemd": frozenset({"reload_daemon", "enable", "start", "restart", "stop", "reboot"}),
    "kernel": frozenset({"set_sysctl", "load_module"}),
    "users": frozenset({"create"}),
    "volumes": frozenset({"attach", "record_intent", "format", "record_formatted", "repair", "grow"}),
    "mounts": frozenset({"mount", "remount", "protect"}),
    "secrets": frozenset(),
    "issuer": frozenset({"issue"}),
    "assets": frozenset({"obtain"}),
    "images": frozenset({"load"}),
    "records": frozenset({"create", "replace"}),
    "probes": frozenset(),
    "clock": frozenset(),
    "etcd": frozenset({"backup"}),
    "etcd_storage": frozenset({"make_data", "rename", "discard", "write_generation_key", "make_room"}),
    "verifier": frozenset(),
    "runtime": frozenset(),
    "node_api": frozenset({"set_schedulable", "evict"}),
}
LOOKING: dict[str, frozenset[str]] = {
    "files": frozenset({"read", "digest", "list"}),
    "systemd": frozenset({"state"}),
    "kernel": frozenset({"sysctl", "module_loaded"}),
    "users": frozenset({"account"}),
    "volumes": frozenset({"held", "evidence", "outgrown"}),
    "mounts": frozenset({"mounted"}),
    "secrets": frozenset({"open", "issue"}),  # plain text and certificates come back; nothing is kept
    "issuer": frozenset(),
    "assets": frozenset(),
    "images": frozenset({"held"}),
    "records": frozenset({"get"}),
    "probes": frozenset({"get"}),
    "clock": frozenset({"now", "monotonic", "wait"}),
    "etcd": frozenset({"admin", "versions"}),
    "etcd_storage": frozenset({"generation_key", "room"}),
    "verifier": frozenset({"containerd_config", "units"}),
    "runtime": frozenset({"complaint", "static_pods"}),
    "node_api": frozenset({"lease_renewed", "schedulable", "pods"}),
}

Hook = Callable[[str, str, tuple[Any, ...]], None]  # port, method, arguments


def _nothing(_port: str, _method: str, _arguments: tuple[Any, ...]) -> None:
    pass


class _Tapped:
    def __init__(self, name: str, port: Any, before: Hook, after: Hook) -> None:
        self._name, self._port, self._before, self._after = name, port, before, after

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._port, method)
        if method not in CHANGING[self._name]:
            return real

        def tapped(*arguments: Any, **named: Any) -> Any:
            self._before(self._name, method, arguments)
            result = real(*arguments, **named)
            self._after(self._name, method, arguments)
            return result

        return tapped


def tapped(host: Host, *, before: Hook = _nothing, after: Hook = _nothing) -> Host:
    """The same ports, with a hook around every call that changes something."""
    names = [field.name for field in dataclasses.fields(Host)]
    return Host(**{name: _Tapped(name, getattr(host, name), before, after) for name in names})


def changes_of(host: Host, act: Callable[[Host], object]) -> list[tuple[str, str]]:
    """Every changing call that `act` makes, in order."""
    calls: list[tuple[str, str]] = []
    act(tapped(host, before=lambda port, method, _arguments: calls.append((port, method))))
    return calls
