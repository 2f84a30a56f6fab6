"""What every model of the spec shares: unknown keys are errors, values never change, keys are camelCase."""

from pydantic import BaseModel, ConfigDict

# Written as Kubernetes and kops write them: podCIDR, zoneID, extraSANs, kubeAPIServer, sizeGiB.
_SPELLED = {
    "api": "API",
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "gib": "GiB",
    "id": "ID",
    "sans": "SANs",
    "url": "URL",
}


def yaml_key(name: str) -> str:
    """The YAML key of a Python attribute: `pod_cidr` -> `podCIDR`."""
    first, *rest = name.split("_")
    return first + "".join(_SPELLED.get(word, word.capitalize()) for word in rest)


class SpecModel(BaseModel):
    """A frozen part of cluster.yaml. The text under each attribute becomes its description in the JSON Schema."""

    model_config = ConfigDict(
        alias_generator=yaml_key,
        extra="forbid",
        frozen=True,
        # YAML is decoded through JSON, where strict still reads a list as a tuple but "5" is no integer.
        strict=True,
        use_attribute_docstrings=True,
        # Python code builds models by attribute name; load_spec accepts the YAML keys only.
        validate_by_alias=True,
        validate_by_name=True,
    )
