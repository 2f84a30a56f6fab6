"""Programs: containerd, kubelet, bootwright's own units, and the API server of a control-plane node."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.doctor.case import Case
from agent.doctor.finding import Finding, fail, ok, skipped, warn, worst
from agent.linux.run import last_lines
from units.health import KUBELET_HEALTH
from units.names import url_host

_SECONDS = 4.0
_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
_LINES = 6
_TIMERS = ("bootwright-boot.service", "bootwright-sync.timer")
_ISSUER = "bootwright-issuer.socket"


@dataclass(frozen=True, slots=True)
class UnitLook:
    """What systemd says of a unit, and the end of its journal where that matters."""

    unit: str
    properties: Mapping[str, str]
    log: str = ""

    @property
    def installed(self) -> bool:
        return self.properties["LoadState"] not in ("not-found", "")

    @property
    def active(self) -> bool:
        return self.properties["ActiveState"] == "active"

    @property
    def idle(self) -> bool:
        """Nobody has started it, or somebody has stopped it in peace."""
        return self.properties["ActiveState"] == "inactive" and self.properties["Result"] in ("success", "")

    def __str__(self) -> str:
        state, sub = self.properties["ActiveState"], self.properties["SubState"]
        more = [f"{name}={value}" for name in _PROPERTIES[3:] if (value := self.properties[name]) not in ("", "0")]
        text = f"{self.unit} is {state} ({', '.join([sub, *more])})"
        return f"{text}; its log ends: {self.log}" if self.log else text


def look_at_unit(case: Case, unit: str) -> UnitLook:
    command = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", unit]
    text = case.patient.run(command, timeout=_SECONDS).text
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    look = UnitLook(unit, {name: found.get(name, "") for name in _PROPERTIES})
    return look if look.active or not look.installed else UnitLook(unit, look.properties, _log(case, unit))


def not_that_far(case: Case) -> bool:
    """Whether no whole plan was ever converged since this machine started: the agent starts the units in turn."""
    return case.status is None or not case.status.converged


def _log(case: Case, unit: str) -> str:
    command = ["journalctl", "--boot", "--quiet", "--no-pager", "--output=cat", f"--lines={_LINES}", f"--unit={unit}"]
    return last_lines(case.patient.run(command, timeout=_SECONDS, allowed=None).stdout, _LINES)


def containerd(case: Case) -> Finding:
    look = look_at_unit(case, "containerd.service")
    if not look.installed:
        return fail("containerd is not installed", "bake the image again with packer/install.sh", "tool-missing")
    if look.active:
        return ok("active")
    if look.idle and not_that_far(case):
        return skipped("not started yet: no plan has come so far")
    return fail(str(look), "systemctl status containerd; journalctl -b -u containerd", "unit-not-started")


def kubelet(case: Case) -> Finding:
    """A unit that is active while its health port is silent hangs, or has just crashed and been started again."""
    look = look_at_unit(case, "kubelet.service")
    if not look.installed:
        return skipped("no plan has come as far as kubelet's unit")
    fix = "journalctl -b -u kubelet; agent diff"
    if look.idle and not_that_far(case):
        return skipped("not started yet: no plan has come so far")
    if not look.active:
        return fail(str(look), fix, "unit-not-started")
    answer = case.patient.probes.get(KUBELET_HEALTH)
    if answer is not None and answer.status == 200:
        return ok("active, healthz ok")
    said = "nothing answers" if answer is None else f"HTTP {answer.status}: {answer.body.strip()[:200]}"
    restarts = look.properties["NRestarts"]
    crashed = f", after {restarts} restarts" if restarts not in ("", "0") else ""
    log = _log(case, look.unit)
    return fail(f"active{crashed}, but on its health port {said}; its log ends: {log}", fix, "kubelet-unhealthy")


def units(case: Case) -> Finding:
    issues = case.manifest is not None and case.role == "control-plane" and case.manifest.identity.node_groups
    names = (*_TIMERS, _ISSUER) if issues else _TIMERS
    return worst([_unit(case, name) for name in names])


def _unit(case: Case, name: str) -> Finding:
    look = look_at_unit(case, name)
    if not look.installed:
        return warn(f"{name} is not installed", "bake the image again with packer/install.sh", "unit-not-installed")
    if look.active:
        return ok(f"{name} active")
    fix = f"systemctl status {name}; journalctl -b -u {name}"
    if look.idle and name == _ISSUER and not_that_far(case):
        return skipped(f"{name} is not started yet")
    if look.properties["ActiveState"] == "activating":
        return warn(str(look), "agent status shows what it waits for", "unit-starting")
    return fail(str(look), fix, "unit-not-started")


def api_server(case: Case) -> Finding:
    if case.role != "control-plane" or case.manifest is None:
        return skipped("not a control-plane node" if case.role else "no manifest is known yet")
    url = f"https://{url_host(case.private_ip)}:{case.manifest.api.port}/readyz"
    answer = case.patient.probes.get(url)
    fix = "crictl ps -a --name kube-apiserver; crictl logs of the newest; ls /var/log/pods; etcd comes first"
    if answer is None:
        return fail(f"nothing answers at {url}", fix, "api-server-not-ready")
    if answer.status == 200:
        return ok("ready")
    return fail(f"{url}: HTTP {answer.status}: {answer.body.strip()[:300]}", fix, "api-server-not-ready")
