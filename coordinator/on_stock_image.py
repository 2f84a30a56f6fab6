"""Installs bootwright's agent on an image that was not baked. Userdata carries this text; cloud-init runs it once.

What it could not do, a unit of its own does at the next boots: cloud-init forgets what failed.
It needs the image's own python3 (3.9 or later, which cloud-init has brought) and nothing else. argv[1] is JSON:
{"bucket", "prefix", "region", "endpoint", "bundles": {"3.13-x86_64": [sha256, bytes]}}. The bundle comes from S3 with
the instance's own credentials. Nothing of it is unpacked before its sha256 is the one that the userdata names.
"""

import fcntl
import hashlib
import hmac
import http.client
import json
import os
import platform
import random
import shutil
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional  # noqa: UP035 - Python 3.9 runs this, too
from urllib.parse import urlsplit

IMDS = "http://169.254.169.254/latest/"
HOME = Path("/opt/bootwright")
DONE = HOME / "image.json"  # install.sh's last step writes it; images of ours have it
KEPT = Path("/usr/local/lib/bootwright")
UNIT = Path("/etc/systemd/system/bootwright-install.service")
WANTED = UNIT.parent / "multi-user.target.wants" / UNIT.name
STARTED = ["bootwright-boot.service", "bootwright-sync.timer"]
UNIT_TEXT = f"""[Unit]
Description=bootwright: install the agent
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart={sys.executable} -I {KEPT}/install.py
ExecStartPost=/bin/systemctl start --no-block {" ".join(STARTED)}
TimeoutStartSec=infinity
StandardOutput=journal+console
StandardError=journal+console
"""
TRIES = 40  # twenty minutes: credentials and routes may come late
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def ask(method: str, url: str, headers: Dict[str, str]) -> http.client.HTTPResponse:  # noqa: UP006 - Python 3.9
    """Straight to the host: no proxy of the environment, no redirect. OSError unless the answer is 200."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=30)
    connection.request(method, parts.path, headers=headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise OSError(f"{method} {url}: HTTP {answer.status} {answer.read(400)!r}")
    return answer


def imds(path: str) -> str:
    token = ask("PUT", IMDS + "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}).read(1 << 16).decode()
    return ask("GET", IMDS + path, {"X-aws-ec2-metadata-token": token}).read(1 << 16).decode().strip()


def url_of(asked: Any, region: str, sha256: str) -> str:
    key, bucket = f"{asked['prefix']}assets/sha256/{sha256[:2]}/{sha256}", asked["bucket"]
    if asked.get("endpoint"):
        return f"{asked['endpoint'].rstrip('/')}/{bucket}/{key}"
    host = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    # The certificate *.s3.REGION covers one label only.
    return f"https://{host}/{bucket}/{key}" if "." in bucket else f"https://{bucket}.{host}/{key}"


def signed(url: str, region: str, credentials: Any, now: Optional[str] = None) -> Any:  # noqa: UP045 - Python 3.9
    """The headers of AWS signature version 4 for a GET without a body."""
    parts = urlsplit(url)
    now = now or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": empty, "x-amz-date": now}
    headers["x-amz-security-token"] = credentials["Token"]
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join(["GET", parts.path, "", *lines, "", names, empty])
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + credentials["SecretAccessKey"]).encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    who = f"{credentials['AccessKeyId']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={who}, SignedHeaders={names}, Signature={key.hex()}"
    return headers


def fetch(url: str, headers: Any, sha256: str, size: int, target: Path) -> None:
    """The bundle at `target`, proven; ValueError for any other bytes."""
    found, left, answer = hashlib.sha256(), size, ask("GET", url, headers)
    with target.open("wb") as file:
        while left >= 0 and (chunk := answer.read(1 << 20)):
            left -= len(chunk)
            found.update(chunk)
            file.write(chunk)
    if left or found.hexdigest() != sha256:
        raise ValueError(f"{url} is not what the userdata names: {size} bytes with sha256 {sha256}")


def install(bundle: Path, home: Path, root: Path) -> None:
    """The bundle's wheels as home/venv, its packer/rootfs below `root`. The venv gets its name last."""
    unpacked, made = home / "bundle", home / "venv.new"
    for left in (unpacked, made):
        shutil.rmtree(left, ignore_errors=True)
    with tarfile.open(bundle) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(unpacked)  # noqa: S202 - its sha256 was checked
    venv.EnvBuilder(symlinks=True).create(made)
    for path in sorted(unpacked.glob("wheels/*.whl")):
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(made / f"lib/python{PYTHON}/site-packages")  # noqa: S202 - as above
    shutil.rmtree(unpacked / "wheels")
    rootfs = unpacked / "packer/rootfs"
    for path in sorted(rootfs.rglob("*")):
        target = root / path.relative_to(rootfs)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    command = root / "usr/local/bin/agent"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {home}/venv/bin/python -I -m agent "$@"\n')
    command.chmod(0o755)
    made.rename(home / "venv")


def install_from_store(asked: Any) -> None:
    this = f"{PYTHON}-{platform.machine()}"
    if this not in asked["bundles"]:
        known = ", ".join(sorted(asked["bundles"]))
        sys.exit(f"bootwright: no agent for Python {this}; the userdata names bundles for {known}")
    sha256, size = asked["bundles"][this]
    region = asked.get("region") or imds("meta-data/placement/region")
    roles = "meta-data/iam/security-credentials/"
    credentials = json.loads(imds(roles + imds(roles).split("\n")[0]))
    HOME.mkdir(parents=True, exist_ok=True)
    url, partial = url_of(asked, region, sha256), HOME / "bundle.partial"
    fetch(url, signed(url, region, credentials), sha256, size, partial)
    install(partial, HOME, Path("/"))
    partial.unlink()


def keep() -> None:
    """The program itself and its argument, for the next boot. One at a time: the lock goes with the process."""
    KEPT.mkdir(parents=True, exist_ok=True)
    fcntl.flock(os.open(KEPT / "lock", os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
    if DONE.exists() or not sys.argv[1:]:
        return
    program = Path("/proc/self/cmdline").read_bytes().split(b"\0")[2]  # python3 -Ic PROGRAM ASKED
    (KEPT / "install.py").write_bytes(program)
    (KEPT / "install.json").write_text(sys.argv[1])
    WANTED.parent.mkdir(parents=True, exist_ok=True)
    UNIT.write_text(UNIT_TEXT)
    WANTED.unlink(missing_ok=True)
    WANTED.symlink_to(UNIT)


def do(*command: str) -> None:
    if os.spawnvp(os.P_WAIT, command[0], command):  # noqa: S606 - no shell is what is wanted
        raise OSError(f"{' '.join(command)} has failed")


def make_node(asked: Any) -> None:
    if not (HOME / "venv").exists():
        install_from_store(asked)
    script = str(HOME / "bundle/packer/install.sh")
    do("bash", script, "packages", "services")
    do("systemctl", "daemon-reload")
    do("systemctl", "enable", *STARTED)
    do("bash", script, "inventory")


def forget() -> None:
    for path in (WANTED, UNIT):
        path.unlink(missing_ok=True)
    shutil.rmtree(KEPT, ignore_errors=True)


def main() -> int:
    os.umask(0o022)
    if not DONE.exists():
        keep()
    for number in range(1, TRIES + 1):
        try:
            if not DONE.exists():
                make_node(json.loads((KEPT / "install.json").read_text()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass, and a person has to read it
            sys.stderr.write(f"bootwright: try {number} of {TRIES} to install the agent: {error}\n")
            time.sleep(min(30, 2**number) * random.uniform(0.5, 1))  # noqa: S311 - no secret
        else:
            forget()
            return 0
    sys.stderr.write("bootwright: the agent is NOT installed; the next boot tries again\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
