"""What this machine remembers of the volumes it took: /var/lib/bootwright/volumes/ETCD.json.

Lost or damaged it costs calls to EC2, and nothing else.
"""

import contextlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.durable import read_bounded, write_durably

STATE = Path("/var/lib/bootwright/volumes")
_MAX_BYTES = 16 * 1024


class Memory(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str
    etcd: str
    volume_id: str
    member: str
    device_names: tuple[str, ...] = ()  # used up: a name used again may leave a volume attaching for ever
    formatted_uuid: str | None = None  # EC2 has it on record as well, and no intent is left there


class VolumeMemory:
    def __init__(self, directory: Path = STATE) -> None:
        self._directory = directory

    def of_etcd(self, etcd: str) -> Memory | None:
        with contextlib.suppress(OSError, ValidationError):
            data = read_bounded(self._path(etcd), limit=_MAX_BYTES)
            return None if data is None else Memory.model_validate_json(data)
        return None

    def of_volume(self, volume_id: str) -> Memory | None:
        known = (self.of_etcd(path.stem) for path in sorted(self._directory.glob("*.json")))
        return next((memory for memory in known if memory and memory.volume_id == volume_id), None)

    def write(self, memory: Memory) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self._path(memory.etcd), (memory.model_dump_json(indent=1) + "\n").encode())

    def note_formatted(self, volume_id: str, uuid: str) -> None:
        memory = self.of_volume(volume_id)
        if memory is not None and memory.formatted_uuid != uuid:
            self.write(memory.model_copy(update={"formatted_uuid": uuid}))

    def _path(self, etcd: str) -> Path:
        return self._directory / f"{etcd}.json"
