"""AWS partitions: how ARNs and host names are spelt in a region (tests/units/test_partitions.py: as botocore does)."""

# Prefix of the region -> partition, DNS suffix.
_PARTITIONS = {
    "cn-": ("aws-cn", "amazonaws.com.cn"),
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "us-iso-": ("aws-iso", "c2s.ic.gov"),
    "us-isob-": ("aws-iso-b", "sc2s.sgov.gov"),
    "eu-isoe-": ("aws-iso-e", "cloud.adc-e.uk"),
    "us-isof-": ("aws-iso-f", "csp.hci.ic.gov"),
    "eusc-": ("aws-eusc", "amazonaws.eu"),
}


def partition_of(region: str) -> str:
    return _found(region)[0]


def sts_endpoint(region: str) -> str:
    """Always the region's own: the global one answers for any region's credentials (trust.md N6)."""
    return f"https://sts.{region}.{_found(region)[1]}"


def _found(region: str) -> tuple[str, str]:
    return next((found for prefix, found in _PARTITIONS.items() if region.startswith(prefix)), ("aws", "amazonaws.com"))
