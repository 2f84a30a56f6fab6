"""What goes when a manifest no longer wants it: files, units, pods. Never a volume, a mount, an account or a sysctl."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from units.content import InstalledAsset
from units.credentials import Certificate, SecretFile
from units.files import File, Symlink
from units.host import Host
from units.node_certificates import NodeCertificates
from units.pods import StaticPod
from units.resource import Resource
from units.systemd import STARTED, UNIT_DIRECTORY, Unit


@dataclass(frozen=True, slots=True)
class Leftover:
    """A resource that nothing wants any more. `paths` are those of its files that no other resource keeps."""

    resource: Resource
    paths: tuple[str, ...]

    def is_there(self, host: Host) -> bool:
        """Whether anything of it is left."""
        if isinstance(self.resource, Unit) and host.systemd.state(self.resource.name).active == "active":
            return True
        return any(host.files.read(path) is not None for path in self.paths)

    def sweep(self, host: Host) -> None:
        """Where nothing is left of it, a write of it may have been cut off."""
        for path in self.paths:
            host.files.remove(path)

    def remove(self, host: Host) -> None:
        """Make it as if it had never been wanted."""
        if isinstance(self.resource, Unit):
            host.systemd.stop(self.resource.name)
            host.files.remove(f"{STARTED}/{self.resource.name}")
        for path in self.paths:
            if host.files.read(path) is not None:
                host.files.remove(path)
        if isinstance(self.resource, Unit):
            host.systemd.reload_daemon()


def leftovers(before: Iterable[Resource], after: Iterable[Resource]) -> tuple[Leftover, ...]:
    """What of `before` has a place that nothing in `after` takes, in the order to remove it: users before files."""
    kept = {claim for resource in after for claim in _claims(resource)}
    gone = [resource for resource in before if _is_removable(resource) and not set(_claims(resource)) <= kept]
    return tuple(
        Leftover(resource, tuple(path for path in _paths(resource) if path not in kept)) for resource in reversed(gone)
    )


def _is_removable(resource: Resource) -> bool:
    return any(True for _path in _paths(resource)) or isinstance(resource, Unit)


def _claims(resource: Resource) -> Iterator[str]:
    paths = tuple(_paths(resource))
    yield from paths or (resource.key,)
    if isinstance(resource, Unit):
        yield resource.key


def _paths(resource: Resource) -> Iterator[str]:
    match resource:
        case File() | Symlink() | Certificate() | SecretFile() | StaticPod():
            yield resource.path
        case Unit(content=str()):
            yield f"{UNIT_DIRECTORY}/{resource.name}"
        case InstalledAsset():
            yield resource.asset.path
        case NodeCertificates():
            yield from (leaf.path for leaf in resource.leaves)
