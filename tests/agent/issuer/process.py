"""An issuer in a process of its own, as the service runs it, but with another IMDS, other limits and marks nowhere.

    python -m tests.agent.issuer.process CREDENTIALS_DIRECTORY IMDS_URL IDLE_SECONDS

Its listening socket is descriptor 3. The last line that it prints is what it cost, as JSON.
"""

import json
import resource
import socket
import sys
from pathlib import Path

from agent.aws.imds import Imds
from agent.issuer import service
from agent.issuer.limits import Limits


def main() -> None:
    directory, imds_url, idle = sys.argv[1:]
    limits = Limits(idle=float(idle), source_rate=1e6, source_burst=1e6, instance_rate=1e6, instance_burst=1e6)
    service.serve([socket.socket(fileno=3)], Path(directory), limits=limits, imds=Imds(imds_url), mark=lambda *_: None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss: it begins with what the parent had when it forked.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    sys.stdout.write(json.dumps({"cpu": used.ru_utime + used.ru_stime, "peak_mib": peak}) + "\n")


if __name__ == "__main__":
    main()
