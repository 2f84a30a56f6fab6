"""Validation: what a plan would lay down, shown to those who must read it, before anything is switched.

Only what would change is looked at: what lies on the machine already has proven itself.
"""

import re
from collections.abc import Iterator

from units.content import InstalledAsset
from units.files import File
from units.host import Host
from units.kubelet_decoding import mismatches_in_kubelet_config
from units.plan import Plan
from units.pod_decoding import mismatches_in_pod
from units.pods import StaticPod
from units.render import yaml_line, yaml_value
from units.report import Failure
from units.resource import Resource
from units.services.containerd import CONFIG as CONTAINERD_CONFIG
from units.services.kubelet import CONFIG as KUBELET_CONFIG
from units.shapes import Mismatch, dotted
from units.systemd import UNIT_DIRECTORY, Unit

REMEDY = "correct the spec and publish again: this machine runs the manifest before it, and nothing was changed"
_NOT_THERE = re.compile(r"Command (\S+) is not executable")


def complaints(the_plan: Plan, minor: int, host: Host) -> Iterator[Failure]:
    """One for every mistake, naming file and line."""
    changing = tuple(resource for resource in the_plan if _is_judged(resource) and resource.check(host))
    for resource in changing:
        if isinstance(resource, StaticPod):
            for said in _in_yaml(resource.path, resource.text, mismatches_in_pod(resource.manifest())):
                yield Failure("static-pod-invalid", said, REMEDY, 1)
        elif isinstance(resource, File) and resource.path == KUBELET_CONFIG:
            found = mismatches_in_kubelet_config(yaml_value(resource.content), minor)
            for said in _in_yaml(resource.path, resource.content, found):
                yield Failure("kubelet-config-invalid", said, REMEDY, 1)
        elif isinstance(resource, File) and resource.path == CONTAINERD_CONFIG:
            for said in host.verifier.containerd_config(resource.content):
                yield Failure("containerd-config-invalid", f"{CONTAINERD_CONFIG}: {said}", REMEDY, 1)
    yield from _of_units(changing, the_plan, host)


def _is_judged(resource: Resource) -> bool:
    if isinstance(resource, File):
        return resource.path in (KUBELET_CONFIG, CONTAINERD_CONFIG)
    return isinstance(resource, StaticPod) or (isinstance(resource, Unit) and resource.content is not None)


def _in_yaml(path: str, text: str, found: tuple[Mismatch, ...]) -> Iterator[str]:
    for mismatch in found:
        yield f"{path} line {yaml_line(text, mismatch.place)}: {dotted(mismatch.place)} {mismatch.said}"


def _of_units(changing: tuple[Resource, ...], the_plan: Plan, host: Host) -> Iterator[Failure]:
    texts = {one.name: one.content for one in changing if isinstance(one, Unit) and one.content is not None}
    if not texts:
        return
    coming = {one.asset.path for one in the_plan if isinstance(one, InstalledAsset)}
    for said in host.verifier.units(texts):
        absent = _NOT_THERE.search(said)
        if not (absent and absent[1] in coming):  # the switch itself will bring that program
            yield Failure("unit-invalid", f"{UNIT_DIRECTORY}/{said}", REMEDY, 1)
