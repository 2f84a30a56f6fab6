"""Sandbox nodes of a published cluster, and the measured processes that boot and poll on them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from agent.cluster_stamp import wanted_stamp
from tests.bench.cloud import BUCKET, Cloud
from tests.bench.fleet import CLUSTER, Published
from tests.bench.measure import MeasuredFailed, Sample, run_once
from tests.bench.node_venv import NodeVenv
from tests.bench.sandbox import bake, reboot

GROUP = "control-plane-a"
WORKERS = "workers-000"
READY = "nothing to change"
BOOTSTRAP = "import sys; sys.path.append(sys.argv.pop(1)); from tests.bench.child import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of one group, in a directory."""

    root: Path
    cloud: Cloud
    venv: NodeVenv
    user_data: str

    def run(self, command: str, *options: str) -> Sample:
        """`boot` or `sync` in a process of its own. Options: `count` what it opens, `save` what the doubles know."""
        if command == "sync":  # written once the API server is up, which a sandbox has not
            (self.root / "run/bootwright/cluster-objects").write_bytes(wanted_stamp())
        self.cloud.set_user_data(self.user_data)  # one IMDS for all nodes
        words = [str(self.venv.python), "-I", "-c", BOOTSTRAP, str(self.venv.harness)]
        words += [command, str(self.root), self.cloud.imds_url, "{now}", *options]
        sample = run_once(words, {"PATH": "/usr/bin:/bin", **self.cloud.environment})
        if sample.result["exit_code"]:
            raise MeasuredFailed(sample.result["text"])
        return sample

    def counted(self, command: str, *options: str) -> "Counts":
        """What one run asks of the outside; exact, so a test may rely on it. Options: `tools` for processes by name,
        with `preloaded` images.
        """
        with self.cloud.counted() as requests:
            result = self.run(command, "count", *options).result
        return Counts(
            requests,
            tuple(result["opened"]),
            tuple(result["listed"]),
            result["read_bytes"],
            result["calls"],
            result["modules"],
            self,
            tuple(tuple(words) for words in (*result["started"], *result.get("tools", ()))),
        )

    def reboot(self) -> None:
        reboot(self.root)


@dataclass(frozen=True, slots=True)
class Counts:
    requests: dict[str, int]
    opened: tuple[str, ...]
    listed: tuple[str, ...]
    read_bytes: int
    calls: dict[str, int]
    modules: list[str]
    node: Node
    processes: tuple[tuple[str, ...], ...]  # the arguments of each that was started, by a double's name for it too

    @property
    def state_files(self) -> tuple[str, ...]:
        """Opened below the sandbox's root: settings, state, and what the plan looks at; each time it was opened."""
        return self._below_root(self.opened)

    @property
    def state_folders(self) -> tuple[str, ...]:
        """Listed below the sandbox's root; each time."""
        return self._below_root(self.listed)

    def _below_root(self, names: tuple[str, ...]) -> tuple[str, ...]:
        prefix = f"{self.node.root}/"
        return tuple(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def bake_node(root: Path, published: Published, cloud: Cloud, venv: NodeVenv, group: str = GROUP) -> Node:
    """A machine as it comes out of the image, the first one of its cluster; its user-data is in IMDS.

    One of WORKERS needs `tests.bench.issuer_double` to answer.
    """
    # What an earlier node left: an established etcd would rightly refuse this one's empty volume.
    for record in ("cluster.json", "members/a.json"):
        cloud.client("s3").delete_object(Bucket=BUCKET, Key=f"{CLUSTER}/etcd/main/{record}")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in published.assets]
    bake(root, published.assets, digests)
    return Node(root, cloud, venv, published.user_data(group))


def first_boot(
    root: Path, published: Published, cloud: Cloud, venv: NodeVenv, group: str = GROUP
) -> tuple[Node, Sample]:
    """A machine that came up once, with everything that its manifest wants; and what that took."""
    node = bake_node(root, published, cloud, venv, group)
    sample = node.run("boot", "save")
    again = node.run("boot", "save").result["text"]
    if READY not in again:
        raise MeasuredFailed(f"the second boot should find nothing to change: {again}")
    return node, sample
