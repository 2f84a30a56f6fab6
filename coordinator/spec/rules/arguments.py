"""components.*.extraArgs: flags that exist, that are the operator's to set, and that open no hole."""

from collections.abc import Callable, Iterator

from coordinator.spec.components import Component, Components
from coordinator.spec.flags import OWNED, REMOVED, UNWISE
from coordinator.spec.known_flags import KNOWN
from coordinator.spec.problems import Path, shown
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.suggestions import nearest

_TYPO = 0.9  # of 600 real flags 40 are as near to another one: the lists must be nearly complete, and are
_TLS = frozenset({"VersionTLS12", "VersionTLS13"})


def _arguments(components: Components) -> Iterator[tuple[str, Component]]:
    for name, field in Components.model_fields.items():
        yield str(field.alias), getattr(components, name)


def flags(draft: Draft) -> Iterator[Finding]:
    minor = draft.spec.kubernetes_minor
    for component, arguments in _arguments(draft.spec.components):
        for flag, value in arguments.extra_args.items():
            path: Path = ("components", component, "extraArgs", flag)
            removed = REMOVED[component].get(flag)
            if removed is not None and removed.minor <= minor:
                when = f"since 1.{removed.minor}" if removed.minor else "long ago"
                allowed = f"flags that {component} has in Kubernetes 1.{minor}"
                yield Finding(path, f"{shown(flag)}, removed {when}", allowed, removed.instead)
            elif flag in OWNED[component]:
                allowed = "flags that bootwright leaves to you"
                yield Finding(path, shown(flag), allowed, f"set by {OWNED[component][flag]}")
            elif flag in UNWISE[component]:
                yield Finding(path, shown(flag), "flags that are safe and do something", UNWISE[component][flag])
            elif (finding := _dangerous_value(component, flag, value)) is not None:
                allowed, remedy = finding
                yield Finding(path, f"{flag}={value[:60]}", allowed, remedy)
            elif flag not in KNOWN[component] and (near := nearest(flag, KNOWN[component], cutoff=_TYPO)) is not None:
                remedy = f"did you mean {near}? With an unknown flag the program does not start"
                yield Finding(path, shown(flag), f"a flag of {component} in Kubernetes 1.{minor}", remedy)


def _admission_on(value: str) -> tuple[str, str] | None:
    plugins = set(value.split(","))
    if "AlwaysAdmit" in plugins:
        return "a list without AlwaysAdmit", "it switches every other check off"
    if "NodeRestriction" not in plugins:
        return "a list that has NodeRestriction", "without it a node may change every other node: add NodeRestriction"
    return None


def _admission_off(value: str) -> tuple[str, str] | None:
    needed = {"NodeRestriction", "ServiceAccount", "NamespaceLifecycle"} & set(value.split(","))
    if needed:
        return f"a list without {', '.join(sorted(needed))}", "the cluster's safety rests on it"
    return None


def _no_weak_tls(value: str) -> tuple[str, str] | None:
    return None if value in _TLS else ("VersionTLS12 or VersionTLS13", "older versions are broken")


def _only_true(value: str) -> tuple[str, str] | None:
    return (
        None if value in {"true", "1", "t", "T", "TRUE", "True"} else ("true", "a deleted service account could go on")
    )


_VALUES: dict[tuple[str, str], Callable[[str], tuple[str, str] | None]] = {
    ("kubeAPIServer", "enable-admission-plugins"): _admission_on,
    ("kubeAPIServer", "disable-admission-plugins"): _admission_off,
    ("kubeAPIServer", "service-account-lookup"): _only_true,
}


def _dangerous_value(component: str, flag: str, value: str) -> tuple[str, str] | None:
    if flag == "tls-min-version" and component != "etcd":
        return _no_weak_tls(value)
    check = _VALUES.get((component, flag))
    return check(value) if check is not None else None


RULES = (Rule(("kubernetesVersion",), flags),)
