"""What goes when a manifest no longer wants it: files, units, pods. Never a volume, a mount, an account or a sysctl."""

from collections.abc import Iterable, Iterator

from units.content import InstalledAsset
from units.credentials import Certificate, SecretFile
from units.files import File, Symlink
from units.host import Host
from units.node_certificates import NodeCertificates
from units.pods import StaticPod
from units.resource import Resource
from units.systemd import STARTED, UNIT_DIRECTORY, Unit


def stale(before: Iterable[Resource], after: Iterable[Resource]) -> tuple[Resource, ...]:
    """Resources of `before` whose place nothing in `after` takes, in the order to remove them: users before files."""
    kept = {claim for resource in after for claim in _claims(resource)}
    gone = [resource for resource in before if not set(_claims(resource)) <= kept]
    return tuple(reversed([resource for resource in gone if _is_removable(resource)]))


def remove(resource: Resource, kept: Iterable[Resource], host: Host) -> None:
    """Make it as if it had never been wanted. Nothing that `kept` wants is touched."""
    wanted = {path for one in kept for path in _paths(one)}
    if isinstance(resource, Unit):
        host.systemd.stop(resource.name)
        host.files.remove(f"{STARTED}/{resource.name}")
    for path in _paths(resource):
        if path not in wanted and host.files.read(path) is not None:
            host.files.remove(path)
    if isinstance(resource, Unit):
        host.systemd.reload_daemon()


def is_left(resource: Resource, kept: Iterable[Resource], host: Host) -> bool:
    """Whether anything of it is still there."""
    wanted = {path for one in kept for path in _paths(one)}
    if isinstance(resource, Unit) and host.systemd.state(resource.name).active == "active":
        return True
    return any(path not in wanted and host.files.read(path) is not None for path in _paths(resource))


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
