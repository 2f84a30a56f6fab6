"""The data that the lab packs beside this package into one zip archive, which Python runs."""

import json
import sys
import zipfile
from typing import Any


def packed(name: str) -> Any:
    with zipfile.ZipFile(sys.argv[0]) as archive:
        return json.loads(archive.read(name))
