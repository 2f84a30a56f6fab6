"""Drift: what somebody changed on a node behind the agent's back, told apart from what changes by itself.

Certificates come due, secrets go with a reboot, volumes move: that is work, and always done. A file with other bytes
or a stopped unit is somebody's doing; whether it is undone is the operator's choice (`drift` in the manifest).
"""

from collections.abc import Iterable

from units.accounts import User
from units.content import InstalledAsset
from units.files import Directory, File, Symlink
from units.host import Host
from units.kernel import KernelModule, Sysctl
from units.pods import StaticPod
from units.report import Outcome
from units.resource import Resource
from units.systemd import Unit


def may_drift(resource: Resource) -> bool:
    return isinstance(
        resource, Directory | File | InstalledAsset | KernelModule | StaticPod | Symlink | Sysctl | Unit | User
    )


def drifted(resources: Iterable[Resource], host: Host) -> tuple[Outcome, ...]:
    """Only looks. What a check cannot tell is drift too: something is not as it was left."""
    changes = ((one.key, one.check(host)) for one in resources if may_drift(one))
    return tuple(Outcome(key, "would-change", 0.0, change) for key, change in changes if change)
