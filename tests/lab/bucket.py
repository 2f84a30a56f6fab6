"""The cluster's objects in S3 in the hands of a thief: any of them read, spoiled, swapped, and put back afterwards."""

import json
from typing import Any

from coordinator.layout import TIMESTAMP, asset_key, group_target, metadata_key, target_key
from tests.lab.scenario import BUCKET, CLUSTER, Scenario


class StolenBucket:
    """Keys are relative to the cluster's folder. What is spoiled through it is what `restore` puts back."""

    def __init__(self, scenario: Scenario) -> None:
        self._s3: Any = scenario.client.aws("s3")
        self._before: dict[str, bytes] = {}

    def read(self, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/{key}")["Body"].read()
        return body

    def put(self, key: str, body: bytes) -> None:
        self._before.setdefault(key, self.read(key))
        self._write(key, body)

    def flip(self, key: str, *, behind: bytes = b"", skip: int = 0) -> None:
        """One bit of the byte in the middle; or of the first letter or digit that comes `skip` bytes behind a mark.

        Behind a mark the byte stays a letter or a digit, so that only a value changes and never the form.
        """
        body = bytearray(self.read(key))
        at = body.index(behind) + len(behind) + skip if behind else len(body) // 2
        while behind and not (bytes([body[at]]).isalnum() and bytes([body[at] ^ 1]).isalnum()):
            at += 1
        body[at] ^= 1
        self.put(key, bytes(body))

    def restore(self) -> None:
        for key, body in self._before.items():
            self._write(key, body)
        self._before.clear()

    def versions(self, key: str) -> list[dict[str, Any]]:
        """Every JSON document that ever lay under this key, the oldest first."""
        full = f"{CLUSTER}/{key}"
        listed = self._s3.list_object_versions(Bucket=BUCKET, Prefix=full).get("Versions", [])
        ids = [row["VersionId"] for row in listed if row["Key"] == full]
        bodies = (self._s3.get_object(Bucket=BUCKET, Key=full, VersionId=one)["Body"].read() for one in reversed(ids))
        return [json.loads(body) for body in bodies]

    def snapshot(self) -> str:
        return metadata_key("snapshot", self._signed(TIMESTAMP)["meta"]["snapshot.json"]["version"])

    def targets(self) -> str:
        return metadata_key("targets", self._signed(self.snapshot())["meta"]["targets.json"]["version"])

    def release(self, group: str) -> str:
        path = group_target(group)
        return target_key(path, self._signed(self.targets())["targets"][path]["hashes"]["sha256"])

    def asset(self, group: str, name: str) -> str:
        """By the name of a binary, or the beginning of an image's reference."""
        manifest = json.loads(self.read(self.release(group)))["stable"]
        named = {one["name"]: one for one in manifest["assets"]} | {one["reference"]: one for one in manifest["images"]}
        (sha256,) = (one["sha256"] for full, one in named.items() if full.startswith(name))
        return asset_key(sha256)

    def _signed(self, key: str) -> dict[str, Any]:
        return dict(json.loads(self.read(key))["signed"])

    def _write(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=BUCKET, Key=f"{CLUSTER}/{key}", Body=body)
