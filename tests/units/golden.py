"""What a node gets, as files that a reviewer reads: `make golden` rewrites them, the diff is the review."""

import sys
from pathlib import Path

from tests.units.sample import manifest
from units.facts import NodeFacts, sample_facts
from units.manifest import Manifest
from units.plan import plan
from units.resource import Resource

FOLDER = Path(__file__).parent / "golden"


def cases() -> dict[str, tuple[Manifest, NodeFacts]]:
    facts = sample_facts(zone="eu-west-1a", region="eu-west-1")
    old_facts = NodeFacts(
        **{name: getattr(facts, name) for name in facts.__slots__}
        | {"containerd_version": (1, 7), "etcd_version": (3, 5), "resolved_active": True}
    )
    return {
        "control-plane-1.36": (manifest("control-plane"), facts),
        "control-plane-1.33-debian13": (manifest("control-plane", kubernetes_version="1.33.4"), old_facts),
        "node-1.36": (manifest("node"), facts),
    }


def rendered(a_manifest: Manifest, facts: NodeFacts) -> dict[str, str]:
    """File name -> text: `plan.txt` with the order of work, and the long resources one by one under `files/`."""
    files: dict[str, str] = {}
    lines: list[str] = []
    for resource in plan(a_manifest, facts):
        description = resource.describe()
        lines.append(description.key)
        if _is_long(resource):
            name = description.key.partition(":")[2].strip("/").replace("/", "_").replace(":", "_")
            files[f"files/{name}"] = "\n".join(description.lines) + "\n"
        else:
            lines += [f"    {line}" for line in description.lines]
    return {"plan.txt": "\n".join(lines) + "\n", **files}


def _is_long(resource: Resource) -> bool:
    return len(resource.describe().lines) > 7


def main() -> None:
    for name, (a_manifest, facts) in cases().items():
        folder = FOLDER / name
        for old in [path for path in folder.rglob("*") if path.is_file()]:
            old.unlink()
        for file, text in rendered(a_manifest, facts).items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        sys.stdout.write(f"wrote {folder.relative_to(FOLDER.parents[2])}\n")


if __name__ == "__main__":
    main()
