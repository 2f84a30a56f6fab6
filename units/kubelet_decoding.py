"""KubeletConfiguration, decoded strictly: what kubelet would pass over in silence is a mistake here.

kubelet has no command that decodes without starting; given a misspelt field it starts without it (measured on 1.36.2).
"""

from collections.abc import Iterator
from typing import Any

from units.kubelet_fields import first_minor, fits, kind_of, kubelet_fields
from units.shapes import Mismatch, Shape, fields, list_of, one_of, text, texts, truth, whole

# What lies inside of fields that are mappings or lists: the types of staging/src/k8s.io/kubelet/config/v1beta1.
_INSIDE: dict[str, Shape] = {
    "authentication": fields(
        {},
        {
            "anonymous": fields({}, {"enabled": truth}),
            "webhook": fields({}, {"enabled": truth, "cacheTTL": text}),
            "x509": fields({}, {"clientCAFile": text}),
        },
    ),
    "authorization": fields(
        {},
        {
            "mode": one_of("Webhook"),
            "webhook": fields({}, {"cacheAuthorizedTTL": text, "cacheUnauthorizedTTL": text}),
        },
    ),
    "crashLoopBackOff": fields({}, {"maxContainerRestartPeriod": text}),
    "memorySwap": fields({}, {"swapBehavior": text}),
    "registerWithTaints": list_of(fields({"key": text, "effect": text}, {"value": text, "timeAdded": text})),
    "reservedMemory": list_of(fields({"numaNode": whole, "limits": texts})),
    "shutdownGracePeriodByPodPriority": list_of(fields({"priority": whole, "shutdownGracePeriodSeconds": whole})),
    "tracing": fields({}, {"endpoint": text, "samplingRatePerMillion": whole}),
    "userNamespaces": fields({}, {"idsPerPod": whole}),
}
_HEAD: dict[str, Shape] = {
    "apiVersion": one_of("kubelet.config.k8s.io/v1beta1"),
    "kind": one_of("KubeletConfiguration"),
}


def mismatches_in_kubelet_config(config: Any, minor: int) -> tuple[Mismatch, ...]:
    """Empty if kubelet 1.`minor` knows every field of it, and every value is of its field's kind."""
    if not isinstance(config, dict):
        return (Mismatch((), "is not a mapping"),)
    return tuple(_mismatches(config, minor))


def _mismatches(config: dict[Any, Any], minor: int) -> Iterator[Mismatch]:
    for field, shape in _HEAD.items():
        if field in config:
            yield from shape(config[field], (field,))
        else:
            yield Mismatch((), f"lacks the field {field}")
    for field in (field for field in config if field not in _HEAD):
        value = config[field]
        if field not in kubelet_fields(minor):
            since = first_minor(field)
            said = f"came with Kubernetes 1.{since}" if since else "is not a field of KubeletConfiguration"
            yield Mismatch((str(field),), said)
        elif value is not None and not fits(kind_of(field), value):
            yield Mismatch((field,), f"is {str(value)[:60]!r}; allowed: {kind_of(field)}")
        elif field in _INSIDE and value is not None:
            yield from _INSIDE[field](value, (field,))
