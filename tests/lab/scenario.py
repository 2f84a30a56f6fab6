"""One cluster in the lab, step by step: what the demo shows and the lab tests build on."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab import image, packer
from tests.lab.bases import DEBIAN_13, Base
from tests.lab.kubernetes.provide import Provided
from tests.lab.kubernetes.view import KubernetesView, NoAnswer
from tests.lab.region import lab as region
from tests.lab.region.client import LabClient
from tests.lab.region.roles import grant
from tests.lab.region.settings import RegionSettings
from tests.lab.screen import Screen
from tests.lab.terraform import VOLUME_GIB, Machines, Terraform

CLUSTER = "demo.example.com"
GROUP = "control-plane-a"
WORKERS = "workers"
WORKER_TYPE = "t3.medium"
BUCKET = "bootwright-demo"
ZONE = "eu-west-1a"
READY_SECONDS = 600.0
PASSPHRASE = "of the demo only"

SPEC = """\
apiVersion: bootwright.io/v1
kind: Cluster
metadata:
  name: {cluster}
kubernetesVersion: {version}
region: eu-west-1
store: s3://{bucket}
network:
  vpc: {vpc}
  cidr: 10.99.0.0/20
  subnets:
    - zone: {zone}
      id: {subnet}
api:
  endpoint: 10.99.0.2 # the lab's load balancer
etcdClusters:
  - name: main
    members:
      - name: a
        zone: {zone}
    volume:
      sizeGiB: {gib}
instanceGroups:
  - name: {group}
    role: control-plane
    machineType: m6i.large
    image: {image}
  - name: {workers}
    role: node
    machineType: {worker_type}
    image: {image}
    minSize: 2
    maxSize: 4
{components}trust:
  secretsKey: awskms:{kms}
aws:
  endpointURL: {endpoint}
"""


# The lab's kernel has neither nftables nor iptables, so a real kube-proxy could not start there.
WITHOUT_KUBE_PROXY = """\
components:
  kubeProxy:
    enabled: false
"""


class StepFailed(RuntimeError):
    """A step of the scenario did not do what it should; the text holds what was said."""


class Scenario:
    """`directory` holds the lab's run directory, the spec and the operator's keys."""

    def __init__(
        self,
        directory: Path,
        provided: Provided,
        screen: Screen,
        *,
        by_packer: bool = False,
        base: Base = DEBIAN_13,
    ) -> None:
        """by_packer: machines boot the AMI that `packer build` makes of `base`, and not what is baked in a chroot."""
        self.directory = directory
        self._build = partial(packer.build, base=base) if by_packer else image.bake
        self._how = "packer build packer/" if by_packer else "packer/install.sh"
        self.provided = provided
        self.screen = screen
        self.spec = directory / "cluster.yaml"
        self.lab: LabClient | None = None
        self.edit_spec: Callable[[str], str] = str  # what a test wants otherwise, before the cluster is founded
        self._image = ""

    @property
    def client(self) -> LabClient:
        if self.lab is None:
            raise StepFailed("the lab is not up")
        return self.lab

    def up(self) -> None:
        """Bake the image with every asset in it, and start the region."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.screen.step(f"Building the machine image ({self._how}; cached)")
        files = [path for _name, path, _where in self.provided.binaries] + [path for _ref, path in self.provided.images]
        self._image = self._build([(path, _sha256(path)) for path in files]).id
        self.screen.step("Starting a region: EC2, S3, KMS, IMDS and a load balancer on this machine")
        region.end(self.directory)
        self.lab = region.start(self.directory, RegionSettings(image_id=self._image))

    def found(self) -> None:
        """Write the spec and found the cluster: bucket, keys, authorities."""
        outputs = self.client.outputs
        self.screen.step("A cluster spec")
        text = SPEC.format(
            cluster=CLUSTER,
            version=self.provided.version,
            bucket=BUCKET,
            vpc=outputs["vpc_id"],
            zone=ZONE,
            subnet=outputs["private_subnet_ids"][ZONE],
            group=GROUP,
            workers=WORKERS,
            worker_type=WORKER_TYPE,
            components="" if self.provided.kube_proxy else WITHOUT_KUBE_PROXY,
            gib=VOLUME_GIB,
            image=self._image,
            kms=outputs["kms_key_arn"],
            endpoint=self.client.endpoint_url,
        )
        self.spec.write_text(self.edit_spec(text))
        self.screen.note(self.spec.read_text().rstrip())
        self.screen.step("Founding the cluster: bucket, signing keys, authorities")
        # Keys of a demo before: that cluster went with its region.
        shutil.rmtree(self.directory / "keys", ignore_errors=True)
        (self.directory / "kubeconfig").unlink(missing_ok=True)
        self.coordinator("init", "--create-bucket")
        # From here on, machines may do what `coordinator iam` grants them, and nothing else.
        grant(self.client.aws("iam"), CLUSTER, json.loads(self.coordinator("iam", "--all", capture=True)))
        self.terraform.make_profiles()

    def publish(self) -> None:
        self.screen.step("Uploading what nodes install")
        for name, path, where in self.provided.binaries:
            self.coordinator("assets", "add", str(path), "--name", name, "--path", where)
        for reference, path in self.provided.images:
            self.coordinator("assets", "add", str(path), "--image", reference)
        self.screen.step("Publishing the signed manifest")
        self.coordinator("publish", "--yes")

    @property
    def terraform(self) -> Terraform:
        return Terraform(self.client, CLUSTER, ZONE)

    def machines(self, group: str) -> Machines:
        """How a machine of the group is launched: with the userdata that the coordinator prints."""
        user_data = self.coordinator("userdata", group, capture=True)
        self.screen.note(user_data.rstrip())
        role, instance_type = ("node", WORKER_TYPE) if group == WORKERS else ("control-plane", "m6i.large")
        return Machines(group, role, instance_type, user_data)

    def launch(self, group: str, **changed: Any) -> str:
        """Launch an instance of the group; changed: fields of Machines that are to be wrong."""
        self.screen.step(f"Launching a machine of {group} with one line of cloud-init")
        if not self.volumes():
            self.terraform.make_volume()
        return self.terraform.run_instance(replace(self.machines(group), **changed))

    def scale_out(self, group: str) -> str:
        """An auto scaling group launches one machine; its id."""
        self.screen.step(f"An auto scaling group launches a machine of {group}")
        self.terraform.make_auto_scaling_group(self.machines(group), 1)
        self.client.wait_until(f"an instance of {group}", lambda: bool(self.terraform.instances_of(group)))
        return self.terraform.instances_of(group)[0]

    def volumes(self) -> list[dict[str, Any]]:
        found = self.client.aws("ec2").describe_volumes(Filters=[{"Name": "tag-key", "Values": ["k8s.io/etcd/main"]}])
        return list(found["Volumes"])

    def wait_until_ready(
        self, instance: str, seconds: float = READY_SECONDS, *, other_boot_than: str = ""
    ) -> dict[str, Any]:
        """Follow the status object in S3 until the agent has done its part, and Kubernetes says that the node is Ready.

        And until commands can be run there: the agent waits for no sshd, and is often done before that listens.

        other_boot_than: the kernel's id of a boot whose status does not count any more.
        """
        self.screen.step(f"Waiting for {instance}")
        deadline = time.monotonic() + seconds
        while True:
            status = self.status(instance)
            if other_boot_than and status.get("boot_id") == other_boot_than:
                status = {}
            stage, waiting = status.get("stage", "no status yet"), status.get("waiting_for", "")
            if stage != "ready":
                self.screen.wait(f"{stage}: {waiting}" if waiting else stage)
            elif self._joined(status) and self.client.machine(instance).is_reachable():
                return status
            gone = self.client.instance(instance)["state"] not in ("pending", "running")
            if gone or stage in ("refused", "failed") or time.monotonic() > deadline:
                raise StepFailed(
                    f"{instance} did not become ready: {json.dumps(status.get('conditions'), indent=1)}\n"
                    + self.client.machine(instance).console()[-4000:]
                )
            time.sleep(0.5)

    def status(self, instance: str) -> dict[str, Any]:
        """The status object of a node, {} before there is one."""
        s3 = self.client.aws("s3")
        try:
            body = s3.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/status/{instance}.json")["Body"].read()
        except s3.exceptions.NoSuchKey:
            return {}
        return dict(json.loads(body))

    def _joined(self, status: dict[str, Any]) -> bool:
        try:
            node = self.kubernetes().nodes().get(status["node_name"])
        except NoAnswer as error:
            self.screen.wait(f"the agent is done; Kubernetes: {error}")
            return False
        if node is None or node.ready != "True":
            self.screen.wait(f"the agent is done; Kubernetes: the node is {'not Ready' if node else 'not there'} yet")
            return False
        return True

    def kubernetes(self) -> KubernetesView:
        """The API server (or its double), as the administrator, through the load balancer."""
        kubeconfig = self.directory / "kubeconfig"
        if not kubeconfig.exists():
            text = self.coordinator("kubeconfig", "--ttl", "2h", capture=True)
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(text)
        return KubernetesView(kubeconfig)

    def kubectl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """kubectl on this machine, as the administrator, through the load balancer."""
        if self.provided.kubectl is None:
            raise StepFailed("KUBERNETES_BIN_DIR holds no kubectl")
        kubeconfig = str(self.kubernetes().kubeconfig)
        command = [str(self.provided.kubectl), "--kubeconfig", kubeconfig, "--request-timeout=5s", *arguments]
        return subprocess.run(command, text=True, check=False, timeout=60, capture_output=True)

    def on_node(self, instance: str, *command: str, timeout: float = 120.0) -> str:
        """What a command prints on the node; its exit code is not judged (`agent status` has a meaning of its own)."""
        self.screen.command(("ssh", instance, *command))
        done = self.client.machine(instance).exec(*command, timeout=timeout)
        return (done.stdout + done.stderr).rstrip()

    def coordinator(self, *arguments: str, capture: bool = False) -> str:
        """Run the coordinator as the operator would. StepFailed with what it said unless it ends with 0."""
        done = self._run_coordinator(arguments, stdout=subprocess.PIPE if capture else None)
        if done.returncode != 0:
            raise StepFailed(f"coordinator {' '.join(arguments)} ended with {done.returncode}")
        return done.stdout or ""

    def ask_coordinator(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, with its outcome left to the caller to judge."""
        return self._run_coordinator(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def operator_environment(self) -> dict[str, str]:
        """The variables that tell the coordinator about this region and the operator's keys."""
        return {
            **self.client.environment(),
            "BOOTWRIGHT_PASSPHRASE": PASSPHRASE,
            "BOOTWRIGHT_KEYS": str(self.directory / "keys"),
        }

    def _run_coordinator(self, arguments: Sequence[str], **streams: Any) -> subprocess.CompletedProcess[str]:
        command = [*arguments, "-f", str(self.spec)]
        self.screen.command(("coordinator", *command))
        program = Path(sys.executable).with_name("coordinator")
        environment = {**os.environ, **self.operator_environment()}
        environment.pop("COLUMNS", None)  # xdist's workers have 80: no such table names a machine whole
        return subprocess.run([str(program), *command], env=environment, text=True, check=False, timeout=600, **streams)

    def down(self) -> None:
        self.screen.step("Ending the lab")
        region.end(self.directory)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
