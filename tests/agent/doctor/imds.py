"""The lab's own IMDS server, for one instance on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.lab.region.faults import Faults
from tests.lab.region.imds import ImdsServer, Metadata
from tests.lab.region.metadata import InstanceView
from tests.lab.region.principals import Keyring

INSTANCE = "i-0123456789abcdef0"


def view(**changes: Any) -> InstanceView:
    """A worker or a control-plane node in eu-west-1a, as EC2 describes it."""
    instance = InstanceView(
        id=INSTANCE,
        image_id="ami-0123456789abcdef0",
        instance_type="m6i.large",
        architecture="x86_64",
        zone="eu-west-1a",
        zone_id="euw1-az1",
        region="eu-west-1",
        private_ip="127.0.0.1",
        hostname="ip-127-0-0-1.eu-west-1.compute.internal",
        mac="02:00:00:00:00:01",
        interface_id="eni-1",
        subnet_id="subnet-1",
        subnet_cidr="127.0.0.0/24",
        vpc_id="vpc-1",
        vpc_cidr="127.0.0.0/16",
        security_groups=(("sg-1", "nodes"),),
        reservation_id="r-1",
        launch_index=0,
        launched="2026-01-01T00:00:00Z",
        profile_arn="arn:aws:iam::111122223333:instance-profile/nodes",
        profile_id="AIPA1",
        role="nodes",
        key_name="",
        public_key="",
        user_data=None,
        tags={},
        tokens_required=True,
        endpoint_enabled=True,
        hop_limit=1,
    )
    return replace(instance, **changes)


class Instance:
    """What IMDS says from now on is `view`; what goes wrong with it is in `faults`."""

    def __init__(self) -> None:
        self.view = view()
        self.faults = Faults()
        keyring = Keyring("operator-secret", "eu-west-1")
        metadata = Metadata(lambda _address: (self.view, "AROA1"), keyring, self.faults, timedelta(hours=6))
        self.server = ImdsServer(("127.0.0.1", 0), metadata)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def imds() -> Iterator[Instance]:
    instance = Instance()
    threading.Thread(target=instance.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield instance
    finally:
        instance.faults.clear()  # lets a request go that hangs
        instance.server.shutdown()
        instance.server.server_close()
