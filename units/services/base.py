"""What every node has before any service: modules, sysctls, directories, public halves of the authorities, binaries."""

from collections.abc import Iterator

from units import paths
from units.content import InstalledAsset
from units.facts import NodeFacts
from units.files import Directory, File
from units.hosts import HostsBlock
from units.kernel import KernelModule, Sysctl
from units.manifest import AuthorityName, Manifest
from units.resource import Resource
from units.soundness import AUTHORITIES

MODULES = ("overlay", "br_netfilter")

# kubelet refuses to start with protectKernelDefaults unless the first three are set (kops.md 2.3).
SYSCTLS = {
    "vm.overcommit_memory": "1",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
}

# Tuning: kops' values. A kernel without one of them still makes a good node.
TUNING = {
    "fs.inotify.max_user_instances": "8192",
    "fs.inotify.max_user_watches": "524288",
    "net.core.somaxconn": "32768",
    "net.ipv4.tcp_max_syn_backlog": "8096",
    "net.ipv4.ip_local_reserved_ports": "30000-32767",
    "vm.max_map_count": "1048576",
}


def base(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    yield from _kernel()
    yield from _directories()
    for name in AUTHORITIES[manifest.group.role]:
        yield authority_file(manifest, name)
    yield _hosts(manifest, facts)
    for asset in manifest.assets:
        yield InstalledAsset(asset)
    for extra in manifest.files:
        yield File(extra.path, extra.content, mode=extra.mode, kind="extra-file", encoding=extra.encoding)


def authority_file(manifest: Manifest, name: AuthorityName) -> File:
    """As it lies on the node: the certificate that signs comes first."""
    return File(paths.authority_bundle(name), manifest.trust.authority(name).bundle)


def trusted_file(manifest: Manifest, name: AuthorityName) -> File:
    """What a restart depends on: whom the file trusts. It stays equal when another one of them begins to sign."""
    return File(paths.authority_bundle(name), manifest.trust.authority(name).trusted)


def _kernel() -> Iterator[Resource]:
    for name in MODULES:
        yield KernelModule(name)
    yield File("/etc/modules-load.d/bootwright.conf", "".join(f"{name}\n" for name in MODULES))
    wanted = {**SYSCTLS, **TUNING}
    # A leading dash: systemd-sysctl ignores what this kernel does not have.
    lines = [f"{'' if name in SYSCTLS else '-'}{name} = {value}\n" for name, value in wanted.items()]
    yield File("/etc/sysctl.d/99-bootwright.conf", "".join(lines))
    for name, value in wanted.items():
        yield Sysctl(name, value, optional=name not in SYSCTLS)


def _directories() -> Iterator[Resource]:
    yield Directory(paths.KUBERNETES)
    yield Directory(f"{paths.KUBERNETES}/manifests", mode=0o700)
    yield Directory(paths.PKI)
    yield Directory(paths.AUTHORITIES)
    yield Directory(paths.KUBELET, mode=0o700)


def _hosts(manifest: Manifest, facts: NodeFacts) -> HostsBlock:
    """Names that must resolve without any DNS of ours: this node's etcd members."""
    entries = tuple(
        (facts.private_ip, (etcd.member_dns_name(member.name, manifest.cluster.name),))
        for etcd in manifest.etcd
        for member in etcd.members
        if (member.group, member.zone) == (manifest.group.name, facts.zone)
    )
    return HostsBlock("cluster", entries if manifest.group.role == "control-plane" else ())
