"""Talking to a running lab: its AWS endpoint as the operator, and its control server for what AWS has no API for."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.lab.region import sdk
from tests.lab.region.machines import Completed
from tests.lab.region.roles import CONTROL_PLANE, NODE
from tests.lab.region.settings import RunDirectory

ROLE_TAG = "k8s.io/role/"
LAUNCH_SECONDS = 120.0


class LabError(RuntimeError):
    """The lab could not do it; the text says what it was asked and what went wrong."""


@dataclass(frozen=True, slots=True)
class RemoteMachine:
    """One machine, by way of the region's process."""

    instance_id: str
    client: "LabClient"

    def exec(self, *argv: str, timeout: float = 60.0) -> Completed:
        """Run a command in the machine as root."""
        done = self.client.call(
            "exec", patience=timeout + 10, instance=self.instance_id, argv=list(argv), timeout=timeout
        )
        return Completed(**done)

    def is_reachable(self) -> bool:
        try:
            return self.exec("true", timeout=20).returncode == 0
        except LabError:
            return False

    def power_cut(self, *, stay_off: bool = False) -> None:
        """Lose power, and the page cache; boot again at once unless stay_off."""
        self.client.call("power-cut", instance=self.instance_id, stay_off=stay_off)

    def power_on(self) -> None:
        self.client.call("power-on", instance=self.instance_id)

    def console(self) -> str:
        """All that it has printed so far; nothing before it is switched on."""
        path = self.client.instance(self.instance_id)["console"]
        return Path(path).read_text(errors="replace") if path and Path(path).exists() else ""


class LabClient:
    """A running lab, found through its run directory."""

    def __init__(self, run_directory: Path) -> None:
        """Raises LabError when no region is up there."""
        self.run = RunDirectory(run_directory)
        try:
            self.state: dict[str, Any] = json.loads(self.run.state.read_text())
        except FileNotFoundError:
            raise LabError(f"no lab is up in {run_directory}; start one: python -m tests.lab up") from None
        self._session = requests.Session()
        self._session.trust_env = False

    @property
    def endpoint_url(self) -> str:
        return str(self.state["endpoint_url"])

    @property
    def outputs(self) -> dict[str, Any]:
        """What the region was provisioned with: vpc_id, private_subnet_ids by zone, image_id, kms_key_arn, ..."""
        return dict(self.state["outputs"])

    def environment(self) -> dict[str, str]:
        """The operator's AWS environment variables, endpoint and secret among them."""
        return dict(self.state["environment"])

    def aws(self, service: str) -> Any:
        """A boto3 client as the operator."""
        names = self.state["environment"]
        return sdk.client(self.endpoint_url, service, names["AWS_ACCESS_KEY_ID"], names["AWS_SECRET_ACCESS_KEY"])

    def run_instance(
        self,
        group: str = "nodes",
        *,
        user_data: str = "",
        zone: str = "",
        subnet: str = "",
        profile: str = "",
        instance_type: str = "t3.medium",
        image: str = "",
        tags: Mapping[str, str] | None = None,
        **more: Any,
    ) -> str:
        """Launch one machine and return its instance id at once; more: further RunInstances parameters.

        The group's name decides on the role's tag and, without a profile, on that: control-plane... and master...
        are the control plane's.
        """
        role = CONTROL_PLANE if group.startswith((CONTROL_PLANE, "master")) else NODE
        zone = zone or self.outputs["zones"][0]
        subnet = subnet or self.outputs["private_subnet_ids"][zone]
        every = {"Name": group, f"{ROLE_TAG}{role}": "1"} | dict(tags or {})
        made = self.aws("ec2").run_instances(
            ImageId=image or self.outputs["image_id"],
            MinCount=1,
            MaxCount=1,
            InstanceType=instance_type,
            SubnetId=subnet,
            IamInstanceProfile={"Name": profile or role},
            **({"UserData": user_data} if user_data else {}),
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in every.items()]}
            ],
            **more,
        )
        return str(made["Instances"][0]["InstanceId"])

    def wait_for_state(self, instance_id: str, state: str, seconds: float = LAUNCH_SECONDS) -> None:
        """Until DescribeInstances says so; LabError after `seconds`, or at once when it cannot be any more."""

        def reached() -> bool:
            row = self.instance(instance_id)
            if row["state"] == "terminated" != state:
                raise LabError(f"{instance_id} is terminated: {row['message']}")
            return bool(row["state"] == state)

        self.wait_until(f"{instance_id} {state}", reached, seconds)

    def wait_until(self, name: str, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f"waited {seconds:.0f} s in vain: {name}")
            time.sleep(0.05)

    def machine(self, instance_id: str) -> RemoteMachine:
        return RemoteMachine(instance_id, self)

    def terminate(self, *instance_ids: str) -> None:
        self.aws("ec2").terminate_instances(InstanceIds=list(instance_ids))

    def status(self) -> dict[str, Any]:
        """Instances, volumes, load balancer targets and faults, as plain values."""
        return dict(self.call("status"))

    def instance(self, name: str) -> dict[str, Any]:
        """The status row of an instance: by id, by the beginning of one, or by Name tag ("NAME/2": its second)."""
        rows = self.status()["instances"]
        exact = [row for row in rows if name == row["id"]]
        alive = [row for row in rows if row["state"] != "terminated"]
        plain, slash, number = name.partition("/")
        loose = [row for row in alive if row["id"].startswith(plain) or row["tags"].get("Name") == plain]
        if slash and number.isdecimal():
            loose = loose[int(number) - 1 :][:1]
        if not exact and len(loose) != 1:
            known = ", ".join(f"{row['id']} ({row['tags'].get('Name', '')})" for row in alive) or "none"
            found = "no instance is" if not loose else f"{len(loose)} instances are"
            raise LabError(f"{found} called {name!r}; there are: {known}")
        return dict((exact or loose)[0])

    def fault_api(self, **fields: Any) -> int:
        """Spoil API calls (faults.ApiFault); the number is the fault's name for clear_fault."""
        return int(self.call("fault-api", **fields))

    def fault_imds(self, instance_id: str, **fields: Any) -> None:
        """absent="hang"|"reset", late=seconds, credentials_404=seconds, skew=seconds; nothing given: all well."""
        self.call("fault-imds", instance=instance_id, **fields)

    def stick_attachment(self, volume_id: str, phase: str = "attaching") -> None:
        self.call("fault-stick", volume_id=volume_id, phase=phase)

    def block(self, listener: str, how: str = "reset") -> None:
        """The load balancer's "api" or "issuer" answers nobody: "reset" as a closed port, "hang" as a firewall."""
        self.call("fault-balancer", listener=listener, how=how)

    def clear_fault(self, name: object = "") -> None:
        """name: a fault's number, an instance id, a volume id or a listener; nothing: every fault."""
        self.call("fault-clear", name=str(name))

    def call(self, operation: str, *, patience: float = 150.0, **arguments: Any) -> Any:
        """One operation of the control server. Raises LabError."""
        try:
            answer = self._session.post(
                f"{self.state['control_url']}/{operation}",
                json=arguments,
                headers={"Authorization": f"Bearer {self.state['control_token']}"},
                timeout=(5, patience),
            )
        except requests.RequestException as error:
            raise LabError(f"{operation}: the lab in {self.run.path} does not answer: {error}") from error
        document = answer.json()
        if answer.status_code != 200:
            raise LabError(f"{operation}: {document['error']}")
        return document
