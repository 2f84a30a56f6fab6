"""Whether anything lies on a disk on which no tool recognises anything: a long look, which shows how far it is.

Read past the page cache, several places at once. `units.blank_proof` says where.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from agent.linux.atomic import explained
from units.blank_proof import HEAD, PIECE, Place, landmarks, pieces, samples
from units.errors import Fatal
from units.host import Clock

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Once in a volume's life, on the way to its first use. At the 125 MiB/s of a gp3 volume (etcd-pki.md 1.4) it is 1.5 GiB
# that are read whole; all of a member's 20 GiB would take 164 s.
WHOLE_SECONDS = 12.0
_AT_ONCE = 8  # gp3 answers in about a millisecond, and up to 3000 times in a second
_ROUND = 64  # places between two looks at the clock
_TELL = 2.0  # seconds; the status is not uploaded more often
_ZEROS = bytes(PIECE)
_GIB = 1 << 30


def find_data(descriptor: int, size: int, volume_id: str, clock: Clock) -> int | None:
    """The offset of a byte that is not zero, of an open block device; None if all that is looked at is zero."""
    from concurrent.futures import ThreadPoolExecutor  # six modules that no other boot needs

    buffers = tuple(mmap.mmap(-1, PIECE) for _ in range(_AT_ONCE))  # aligned, as O_DIRECT wants memory to be
    with (
        explained("read", f"the disk of {volume_id}"),
        _past_the_page_cache(descriptor),
        ThreadPoolExecutor(_AT_ONCE) as readers,
    ):
        return _Look(descriptor, size, volume_id, clock, readers, buffers).find()


@dataclass
class _Look:
    descriptor: int
    size: int
    volume_id: str
    clock: Clock
    readers: "ThreadPoolExecutor"
    buffers: tuple[mmap.mmap, ...]
    _told: float = field(default=float("-inf"), init=False)

    def find(self) -> int | None:
        if (found := self._data_in(landmarks(self.size))) is not None:
            return found
        whole, found = self._read_whole()
        return found if found is not None else self._sample(whole)

    def _read_whole(self) -> tuple[int, int | None]:
        """From the start, as far as the time goes: the end of what was read, and where data lie in it."""
        deadline, end = self.clock.monotonic() + WHOLE_SECONDS, 0
        for part in _rounds(pieces(self.size)):
            if end >= HEAD and self.clock.monotonic() >= deadline:
                break
            self._tell(f"{end / _GIB:.1f} of {self.size / _GIB:.1f} GiB")
            if (found := self._data_in(part)) is not None:
                return end, found
            end = sum(part[-1])
        return end, None

    def _sample(self, begin: int) -> int | None:
        places = tuple(samples(self.size, begin, self.volume_id))
        done = 0
        for part in _rounds(iter(places)):
            self._tell(f"{begin / _GIB:.1f} of {self.size / _GIB:.1f} GiB, and {done} of {len(places)} samples beyond")
            if (found := self._data_in(part)) is not None:
                return found
            done += len(part)
        return None

    def _data_in(self, places: Sequence[Place]) -> int | None:
        """Every reader has a share of them and a buffer."""
        shares = (places[number :: len(self.buffers)] for number in range(len(self.buffers)))
        found = self.readers.map(self._first_data, shares, self.buffers)
        return min((offset for offset in found if offset is not None), default=None)

    def _first_data(self, places: Sequence[Place], buffer: mmap.mmap) -> int | None:
        found = (self._data_at(offset, length, buffer) for offset, length in places)
        return next((offset for offset in found if offset is not None), None)

    def _data_at(self, offset: int, length: int, buffer: mmap.mmap) -> int | None:
        end = offset + length
        with memoryview(buffer) as room:
            while offset < end:
                count = os.preadv(self.descriptor, [room[: min(len(room), end - offset)]], offset)
                if count <= 0:
                    raise Fatal("device-short", f"the device ends at byte {offset}, before the size it reports")
                if not _ZEROS.startswith(room[:count]):  # a comparison that copies nothing
                    return offset + count - len(bytes(room[:count]).lstrip(b"\0"))
                offset += count
        return None

    def _tell(self, progress: str) -> None:
        if self.clock.monotonic() - self._told >= _TELL:
            self._told = self.clock.monotonic()
            self.clock.wait(0.0, f"looking whether {self.volume_id} is blank: {progress}")


def _rounds(places: Iterator[Place]) -> Iterator[tuple[Place, ...]]:
    while part := tuple(islice(places, _ROUND)):
        yield part


@contextmanager
def _past_the_page_cache(descriptor: int) -> Iterator[None]:
    """Gigabytes that nobody reads again would push out what the boot is about to need."""
    before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, before | os.O_DIRECT)
    try:
        yield
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, before)
