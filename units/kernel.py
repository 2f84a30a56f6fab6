"""Sysctl and KernelModule: now, and again after a reboot (the files beside them are ordinary Files)."""

from dataclasses import dataclass

from units.host import Host
from units.resource import Change, Description


@dataclass(frozen=True, slots=True)
class Sysctl:
    name: str  # dotted: net.ipv4.ip_forward
    value: str
    optional: bool = False  # tuning that some kernels lack; never what kubelet insists on

    @property
    def key(self) -> str:
        return f"sysctl:{self.name}"

    def check(self, host: Host) -> Change | None:
        found = host.kernel.sysctl(self.name)
        if found == self.value or (found is None and self.optional):
            return None
        return Change(f"{found} -> {self.value}")

    def apply(self, host: Host) -> None:
        host.kernel.set_sysctl(self.name, self.value)

    def describe(self) -> Description:
        return Description(self.key, (self.value,))


@dataclass(frozen=True, slots=True)
class KernelModule:
    name: str

    @property
    def key(self) -> str:
        return f"module:{self.name}"

    def check(self, host: Host) -> Change | None:
        return None if host.kernel.module_loaded(self.name) else Change("load")

    def apply(self, host: Host) -> None:
        host.kernel.load_module(self.name)

    def describe(self) -> Description:
        return Description(self.key, ("loaded",))
