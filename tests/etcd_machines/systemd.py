"""A double of systemd for one unit: etcd's, with what the unit's text says of environment, conditions and restarts."""

import re
import subprocess
import threading
import time
from pathlib import Path

from units.host import UnitState


class SystemdDouble:
    """One unit, with what its text says of environment, conditions, restarts. Ends with the machine."""

    def __init__(self, binary: str, log: Path) -> None:
        self._binary, self._log = binary, log
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._one = threading.Lock()
        self._restarting = threading.Thread(target=self._keep_running, daemon=True)
        self._restarting.start()

    def state(self, unit: str) -> UnitState:
        del unit
        return UnitState(enabled=False, active="active" if self._wanted else "inactive")

    def reload_daemon(self) -> None: ...

    def start(self, unit: str) -> None:
        self._unit = Path(f"/etc/systemd/system/{unit}").read_text()
        self._wanted = True

    def restart(self, unit: str) -> None:
        self.start(unit)
        with self._one:
            if self._process is not None:
                self._process.terminate()

    def stop(self, unit: str) -> None:
        del unit
        with self._one:
            self._wanted = False
            if self._process is not None:
                self._process.terminate()
                self._process.wait(60)

    def _keep_running(self) -> None:
        while True:
            with self._one:
                if self._wanted and (self._process is None or self._process.poll() is not None):
                    self._process = self._spawn()
                    self._wanted = self._process is not None
            time.sleep(0.2)

    def _spawn(self) -> "subprocess.Popen[bytes] | None":
        (environment,) = re.findall(r"^EnvironmentFile=(.+)$", self._unit, re.MULTILINE)
        if not Path(environment).exists():
            return None
        values = dict(line.split("=", 1) for line in Path(environment).read_text().split())
        joined = self._unit.replace("\\\n", " ")
        (command,) = re.findall(r"^ExecStart=/usr/bin/etcd (.+)$", joined, re.MULTILINE)
        arguments = [
            argument.replace("${INITIAL_CLUSTER_STATE}", values["INITIAL_CLUSTER_STATE"])
            for argument in command.split()
        ]
        with self._log.open("ab") as log:
            return subprocess.Popen([self._binary, *arguments], stdout=log, stderr=log, env={"PATH": "/usr/bin"})
