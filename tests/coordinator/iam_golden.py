"""The examples' policies, as files that a reviewer reads: `python -m tests.coordinator.iam_golden` rewrites them."""

import json
import sys
from pathlib import Path
from typing import Any

from coordinator.iam import EC2_ONLY_ROLES, ROLES, Keys, Place, Wanted, place_of, policy
from coordinator.spec import ClusterSpec, load_spec

FOLDER = Path(__file__).parent / "golden-iam"
EXAMPLES = Path(__file__).parents[2] / "examples"
UID = "11111111-2222-4333-8444-555555555555"
_KMS = "arn:aws:kms:eu-west-1:111122223333:key/"
SECRETS = f"{_KMS}1234abcd-12ab-34cd-56ef-1234567890ab"  # as in examples/ha-private
TARGETS = f"{_KMS}aaaaaaaa-0000-4000-8000-000000000001"
ONLINE = f"{_KMS}aaaaaaaa-0000-4000-8000-000000000002"
# What the example's operators chose at init: minimal has keys in files only, ha-private has every key in KMS.
KEYS = {
    "minimal": Keys(uid=UID),
    "ha-private": Keys(uid=UID, secrets=SECRETS, targets=(TARGETS,), online=(ONLINE,)),
}


def example(name: str) -> tuple[ClusterSpec, Place]:
    spec = load_spec(EXAMPLES / name / "cluster.yaml")
    return spec, place_of(spec, KEYS[name])


def cases() -> dict[str, Any]:
    """File name -> policy. ha-private's machines are those of a VPC with endpoints."""
    made = {}
    for name in KEYS:
        spec, place = example(name)
        for role in ROLES:
            tight = name == "ha-private" and role in EC2_ONLY_ROLES
            made[f"{name}.{role}.json"] = policy(spec, place, Wanted(role, through_endpoints=tight))
    return made


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, document in cases().items():
        (FOLDER / name).write_text(json.dumps(document, indent=1) + "\n")
        sys.stdout.write(f"wrote {name}\n")


if __name__ == "__main__":
    main()
