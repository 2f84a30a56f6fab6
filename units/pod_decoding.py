"""A static pod, decoded strictly before kubelet sees it.

kubelet skips a pod that it cannot read with a line in its log, and takes it for one that was removed: the component
ends. Stricter than the API's schema (tests compare the two): only fields that `units.pods` writes are known.
"""

from collections.abc import Iterator
from typing import Any

from units.shapes import Mismatch, Place, fields, list_of, one_of, text, texts, truth, whole, written

_NAME = written("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "a DNS label: a-z, 0-9 and dashes, up to 63")
_ABSOLUTE = written("/.*", "an absolute path")
_QUANTITY = written(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", "a quantity: 100m, 64Mi")
_IMAGE = written(r"\S+", "an image reference")

_TIMES = ("failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds")
_ASKED = fields({"host": text, "path": text, "port": whole, "scheme": one_of("HTTP", "HTTPS")})
_PROBE = fields({"httpGet": _ASKED}, dict.fromkeys(_TIMES, whole))
_SECURITY = fields(
    {},
    {
        "allowPrivilegeEscalation": truth,
        "capabilities": fields({}, {"add": list_of(text), "drop": list_of(text)}),
        "privileged": truth,
    },
)
_CONTAINER = fields(
    {"name": _NAME, "image": _IMAGE, "command": list_of(text)},
    {
        "imagePullPolicy": one_of("IfNotPresent", "Never"),
        "livenessProbe": _PROBE,
        "readinessProbe": _PROBE,
        "resources": fields({}, {"requests": fields({}, {"cpu": _QUANTITY, "memory": _QUANTITY})}),
        "securityContext": _SECURITY,
        "startupProbe": _PROBE,
        "volumeMounts": list_of(fields({"name": _NAME, "mountPath": _ABSOLUTE}, {"readOnly": truth})),
    },
)
_VOLUME = fields(
    {
        "name": _NAME,
        "hostPath": fields({"path": _ABSOLUTE, "type": one_of("Directory", "DirectoryOrCreate", "FileOrCreate")}),
    }
)
_POD = fields(
    {
        "apiVersion": one_of("v1"),
        "kind": one_of("Pod"),
        "metadata": fields({"name": _NAME, "namespace": _NAME}, {"labels": texts, "annotations": texts}),
        "spec": fields(
            {"containers": list_of(_CONTAINER)},
            {
                "hostNetwork": truth,
                "priority": whole,
                "priorityClassName": text,
                "securityContext": fields({}, {"seccompProfile": fields({"type": one_of("RuntimeDefault")})}),
                "volumes": list_of(_VOLUME),
            },
        ),
    }
)


def mismatches_in_pod(pod: Any) -> tuple[Mismatch, ...]:
    """Empty if kubelet takes it."""
    found = tuple(_POD(pod, ()))
    return found or tuple(_loose_ends(pod["spec"]))


def _loose_ends(spec: dict[str, Any]) -> Iterator[Mismatch]:
    """What no shape tells: names that must differ, and names that must be there."""
    if not spec["containers"]:
        yield Mismatch(("spec", "containers"), "is empty")
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    yield from _doubles(volumes, ("spec", "volumes"))
    yield from _doubles([container["name"] for container in spec["containers"]], ("spec", "containers"))
    for index, container in enumerate(spec["containers"]):
        place: Place = ("spec", "containers", index, "volumeMounts")
        for number, mount in enumerate(container.get("volumeMounts", [])):
            if mount["name"] not in volumes:
                yield Mismatch((*place, number, "name"), f"is {mount['name']!r}; allowed: the name of a volume")


def _doubles(names: list[str], place: Place) -> Iterator[Mismatch]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield Mismatch((*place, number, "name"), f"is {name!r}, as an earlier one's; allowed: each name once")
