"""Whether a manifest that fits the schema can be planned: complete, and leaving to bootwright what is bootwright's."""

from collections.abc import Callable, Iterator, Mapping

from pki.chain import load_authorities
from pki.errors import PkiError
from pki.keys import load_public_key
from units import owned
from units.errors import Problem
from units.manifest import AuthorityName, Manifest

AUTHORITIES: Mapping[str, tuple[AuthorityName, ...]] = {
    "control-plane": ("kubernetes", "front-proxy", "etcd-clients", "etcd-peers"),
    "node": ("kubernetes",),
}


def problems_in(manifest: Manifest) -> tuple[Problem, ...]:
    """Everything that keeps a node from taking this manifest, with paths into it."""
    return (*_trust(manifest), *_etcd(manifest), *_flags(manifest), *_kubelet(manifest), *_paths(manifest))


def _trust(manifest: Manifest) -> Iterator[Problem]:
    present = {authority.name for authority in manifest.trust.authorities}
    for name in AUTHORITIES[manifest.group.role]:
        if name not in present:
            yield Problem("trust.authorities", f"no authority named {name!r}")
    for index, authority in enumerate(manifest.trust.authorities):
        try:
            load_authorities(authority.bundle.encode())
        except PkiError as error:
            yield Problem(f"trust.authorities[{index}].bundle", f"{authority.name}: {error}")
    for index, key in enumerate(manifest.trust.service_account_keys):
        try:
            load_public_key(key.encode())
        except PkiError as error:
            yield Problem(f"trust.service_account_keys[{index}]", str(error))
    if manifest.group.role == "control-plane" and not manifest.trust.service_account_keys:
        yield Problem("trust.service_account_keys", "none; a control plane signs tokens with the first one")


def _etcd(manifest: Manifest) -> Iterator[Problem]:
    names = [cluster.name for cluster in manifest.etcd]
    if manifest.group.role == "control-plane" and "main" not in names:
        yield Problem("etcd", "no cluster named 'main'; every API server has a member of it on its own machine")


def _flags(manifest: Manifest) -> Iterator[Problem]:
    components = manifest.components
    for component in type(components).model_fields:
        arguments: dict[str, str] = getattr(components, component)
        yield from _flags_of(component, f"components.{component}", arguments)
    for index, cluster in enumerate(manifest.etcd):
        yield from _flags_of("etcd", f"etcd[{index}].extra_args", cluster.extra_args)


def _flags_of(component: str, path: str, arguments: dict[str, str]) -> Iterator[Problem]:
    for flag, value in arguments.items():
        if flag in owned.FLAGS[component]:
            yield Problem(f"{path}.{flag}", "belongs to bootwright: an extra argument may not set it")
        elif allowed := _VALUES.get(flag, _anything)(value):
            yield Problem(f"{path}.{flag}", f"found {value[:80]!r}; allowed: {allowed}")


def _anything(_value: str) -> str:
    return ""


def _admission_on(value: str) -> str:
    plugins = set(value.split(","))
    return (
        "" if "NodeRestriction" in plugins and "AlwaysAdmit" not in plugins else "NodeRestriction, and no AlwaysAdmit"
    )


def _admission_off(value: str) -> str:
    needed = {"NodeRestriction", "ServiceAccount", "NamespaceLifecycle"}
    return f"none of {', '.join(sorted(needed))}" if needed & set(value.split(",")) else ""


def _tls(value: str) -> str:
    allowed = ("VersionTLS12", "VersionTLS13", "TLS1.2", "TLS1.3")
    return "" if value in allowed else "TLS 1.2 or 1.3"


def _true(value: str) -> str:
    return "" if value in ("true", "1", "t", "T", "TRUE", "True") else "true"


# Flags that may be set, but not to everything. Each name means the same in every component that has it.
_VALUES: Mapping[str, Callable[[str], str]] = {
    "enable-admission-plugins": _admission_on,
    "disable-admission-plugins": _admission_off,
    "service-account-lookup": _true,
    "tls-min-version": _tls,
}


def _kubelet(manifest: Manifest) -> Iterator[Problem]:
    for field in manifest.group.kubelet:
        if field in owned.KUBELET_FIELDS:
            yield Problem(f"group.kubelet.{field}", "belongs to bootwright: an override may not set it")


def _paths(manifest: Manifest) -> Iterator[Problem]:
    for index, file in enumerate(manifest.files):
        if reserved := _reserved(file.path, (*owned.PATHS, *owned.NOT_AS_EXTRA_FILE)):
            yield Problem(f"files[{index}].path", f"{file.path}: {reserved} belongs to bootwright or to the machine")
    for index, asset in enumerate(manifest.assets):
        if reserved := _reserved(asset.path, owned.PATHS):
            yield Problem(f"assets[{index}].path", f"{asset.path}: {reserved} belongs to bootwright or to the machine")


def _reserved(path: str, trees: tuple[str, ...]) -> str | None:
    for tree in trees:
        if path == tree or path.startswith(f"{tree}/"):
            return tree
    for folder in owned.UNIT_FOLDERS:
        if path.startswith(tuple(f"{folder}/{prefix}" for prefix in owned.UNIT_PREFIXES)):
            return path
    return None
