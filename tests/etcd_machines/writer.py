"""A writer that counts what was acknowledged: nothing of it may be missing afterwards, on any member."""

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from tests.etcd_machines.world import Machine, World
from tests.real_etcd.binaries import binaries


@dataclass
class Writer:
    """Writes the numbers from 1 on, each under a key of its own, through any member; one at a time."""

    world: World
    acknowledged: list[int] = field(default_factory=list)
    longest_gap: float = 0.0  # seconds between two acknowledged writes
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def wait_for_more(self, count: int = 5) -> None:
        seen = len(self.acknowledged)
        self.world.wait_until(f"{count} more writes", lambda: len(self.acknowledged) >= seen + count)

    def lost_on(self, machine: Machine) -> set[int]:
        """What was acknowledged and is not there, asked of this machine's etcd, linearizably."""
        acknowledged = set(self.acknowledged)  # by now; what is acknowledged while etcd answers need not be in it
        said = self.world.etcdctl(machine, "get", "written/", "--prefix", "--keys-only")
        assert said.returncode == 0, said.stderr
        there = {int(key.removeprefix("written/")) for key in said.stdout.split()}
        return acknowledged - there

    def _write(self) -> None:
        number, last = 0, time.monotonic()
        while not self._over.is_set():
            number += 1
            if self._put(number):
                now = time.monotonic()
                self.longest_gap, last = max(self.longest_gap, now - last), now
                self.acknowledged.append(number)
            else:
                time.sleep(0.1)

    def _put(self, number: int) -> bool:
        addresses = ",".join(f"https://{machine.socket.address}:2379" for machine in self.world.running())
        shared = self.world.shared
        command = [
            *self.world.switch.inside,
            str(binaries() / "etcdctl"),
            f"--endpoints={addresses}",
            f"--cacert={shared}/etcd-clients.crt",
            f"--cert={shared}/operator.pem",
            f"--key={shared}/operator.pem",
            "--command-timeout=3s",
            "--dial-timeout=1s",
            "--write-out=json",
            "put",
            f"written/{number}",
            f"{number}",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10, env={})
            return done.returncode == 0 and "revision" in json.loads(done.stdout)["header"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return False
