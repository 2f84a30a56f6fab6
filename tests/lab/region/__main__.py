"""The region's process: `python -m tests.lab.region RUN_DIRECTORY`, started by lab.Lab, ended by SIGTERM or `stop`."""

import sys
from pathlib import Path

from tests.lab.region.daemon import serve
from tests.lab.region.settings import RegionSettings, RunDirectory


def main() -> int:
    run = RunDirectory(Path(sys.argv[1]).resolve())
    serve(run, RegionSettings.from_json(run.settings.read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
