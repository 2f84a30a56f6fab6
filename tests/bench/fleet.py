"""A published cluster, made by the real coordinator: `init`, `assets add`, `publish`, `userdata`."""

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench.cloud import BUCKET, REGION, Cloud
from units.manifest import Manifest, decode_release

CLUSTER = "bench.example.com"
VERSION = "1.36.2"
ZONES = ("a", "b", "c")
PASSPHRASE = "of the bench only"
KUBELET_BYTES = 80_000_000  # kubelet 1.36 is 60 to 85 MB
IMAGE_BYTES = 1_000_000  # archives are read by containerd only, whose double does not look at them
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def spec(secrets_key: str, cloud: Cloud, groups: int, *, change: int = 0) -> dict[str, Any]:
    """Three control-plane groups, one a zone, and `groups` - 3 worker groups over all zones; at least 4.

    Another `change` changes every group. The API's address is loopback: what a worker asks there is the issuer.
    """
    workers = [
        {
            "name": f"workers-{number:03}",
            "role": "node",
            "labels": {"example.com/pool": f"p{number}", "example.com/change": str(change)},
            **_MACHINE,
        }
        for number in range(groups - len(ZONES))
    ]
    masters = [
        {
            "name": f"control-plane-{zone}",
            "role": "control-plane",
            "zones": [f"{REGION}{zone}"],
            "labels": {"example.com/change": str(change)},
            **_MACHINE,
        }
        for zone in ZONES
    ]
    members = [{"name": z, "zone": f"{REGION}{z}", "group": f"control-plane-{z}"} for z in ZONES]
    return {
        "apiVersion": "bootwright.io/v1",
        "kind": "Cluster",
        "metadata": {"name": CLUSTER},
        "kubernetesVersion": VERSION,
        "region": REGION,
        "store": f"s3://{BUCKET}",
        "network": {
            "vpc": "vpc-0d1d2d3d4d5d6d7d8",
            "cidr": "10.96.0.0/12",
            "cni": "calico",
            "subnets": [{"zone": f"{REGION}{z}", "id": f"subnet-0aa0aa0aa0aa0aa0{i}"} for i, z in enumerate(ZONES)],
        },
        "api": {"endpoint": "127.0.0.1"},
        "identity": {"port": cloud.issuer_port},
        "etcdClusters": [{"name": "main", "members": members}],
        "trust": {"secretsKey": f"awskms:{secrets_key}"},
        "aws": {"endpointURL": cloud.endpoint},
        "instanceGroups": masters + workers,
    }


_MACHINE = {"machineType": "m7g.large", "image": "ami-0f1e2d3c4b5a69788"}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator's desk: a directory with spec and keys, and the coordinator of this checkout's .venv."""

    directory: Path
    cloud: Cloud

    @property
    def spec_file(self) -> Path:
        return self.directory / "cluster.yaml"

    def write_spec(self, secrets_key: str, groups: int, *, change: int = 0) -> None:
        document = spec(secrets_key, self.cloud, groups, change=change)
        self.spec_file.write_text(yaml.safe_dump(document, sort_keys=False))

    def command(self, *arguments: str) -> list[str]:
        where = ["-f", str(self.spec_file), "--keys", str(self.directory / "keys")]
        return [sys.executable, "-m", "coordinator", *arguments, *where]

    @property
    def environment(self) -> dict[str, str]:
        """Byte-compiled, as an installed coordinator is, whatever this process runs with."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "BOOTWRIGHT_PASSPHRASE": PASSPHRASE,
            "PYTHONPYCACHEPREFIX": str(self.directory.parent / "pycache"),
            **self.cloud.environment,
        }

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(f"coordinator {' '.join(arguments)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


@dataclass(frozen=True, slots=True)
class Published:
    """A cluster with everything that a node needs."""

    operator: Operator
    secrets_key: str
    assets: tuple[Path, ...]  # files to bake, named by their sha256 in the manifest

    def manifest(self, group: str) -> Manifest:
        """As it was published last."""
        s3, prefix = self.operator.cloud.client("s3"), f"{CLUSTER}/tuf/targets/groups/"
        found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        newest = max(
            (one for one in found if one["Key"].endswith(f".{group}.json")), key=lambda one: one["LastModified"]
        )
        body = s3.get_object(Bucket=BUCKET, Key=newest["Key"])["Body"].read()
        return decode_release(body, cluster=CLUSTER, group=group).stable

    def user_data(self, group: str) -> str:
        return self.operator.run("userdata", group)


def found_cluster(directory: Path, cloud: Cloud, *, asset_bytes: int = KUBELET_BYTES) -> Published:
    """`init` and `assets add`, without any group yet."""
    directory.mkdir(parents=True, exist_ok=True)
    operator = Operator(directory, cloud)
    key = cloud.make_key()
    operator.write_spec(key, groups=4)
    # Not `init --create-bucket`: moto takes its policy against plain http as a refusal of everything.
    where = {"LocationConstraint": REGION}
    cloud.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    operator.run("init")
    kubelet = _noise(directory / "kubelet", asset_bytes)
    operator.run("assets", "add", str(kubelet), "--name", "kubelet", "--path", "/usr/local/bin/kubelet")
    images = []
    for name in _COMPONENTS:
        images.append(_noise(directory / f"{name}.tar", IMAGE_BYTES))
        operator.run("assets", "add", str(images[-1]), "--image", f"registry.k8s.io/{name}:v{VERSION}")
    return Published(operator, key, (kubelet, *images))


def _noise(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(path.name).randbytes(size))
    return path
