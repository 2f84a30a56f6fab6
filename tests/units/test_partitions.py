"""botocore knows every region's partition and endpoints; what we spell ourselves must agree."""

from collections.abc import Mapping
from typing import Any

import pytest

from units.partitions import partition_of, sts_endpoint


@pytest.fixture(scope="module")
def session() -> Any:
    import botocore.session

    return botocore.session.get_session()


@pytest.fixture(scope="module")
def regions(session: Any) -> Mapping[str, str]:
    """Every region's partition."""
    return {
        region: partition
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition_name=partition)
    }


def test_every_partition_is_botocores(regions: Mapping[str, str]) -> None:
    assert {region: partition_of(region) for region in regions} == regions


def test_every_sts_endpoint_is_botocores(session: Any, regions: Mapping[str, str]) -> None:
    def endpoint(region: str) -> str:
        client = session.create_client("sts", region_name=region, aws_access_key_id="AKIA", aws_secret_access_key="-")
        return str(client.meta.endpoint_url)

    assert {region: sts_endpoint(region) for region in regions} == {region: endpoint(region) for region in regions}
