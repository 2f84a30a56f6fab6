"""The User-Mode Linux kernel of the lab's machines.

It comes from Debian's testing suite and brings its own C library along, so that every host runs the same one. Measured
on a Sapphire Rapids with 2 cores: kernel 7.2, which can use seccomp instead of ptrace, takes 7.6 us a system call and
boots a bare Debian in 6.9 s. Bookworm's 6.1 takes 50 us and 14.4 s, and on a processor with AMX it does not start at
all: it has no room for 11 kB of registers (fixed in 6.13).
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import digest, folder, locked
from tests.lab.progress import step
from tests.lab.run import run

SUITE = "forky"
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = ("user-mode-linux", "libc6")


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: `root` holds the files of its Debian packages."""

    root: Path

    @property
    def binary(self) -> Path:
        return self.root / "usr/bin/linux.uml"

    @property
    def loader_folder(self) -> Path:
        """Holds ld-linux-x86-64.so.2 of its own C library."""
        return self.root / "lib64"

    @property
    def library_folder(self) -> Path:
        return self.root / "usr/lib/x86_64-linux-gnu"

    @property
    def modules(self) -> Path:
        """The folder for /usr/lib/modules; its name is the kernel's release."""
        (modules,) = (self.root / "usr/lib/uml/modules").iterdir()
        return modules

    @property
    def release(self) -> str:
        return self.modules.name


def kernel() -> Kernel:
    """The cached kernel, or the one that Debian offers now; its signature chain is checked by apt."""
    root = folder() / f"kernel-{digest(SUITE, *PACKAGES)[:12]}"
    with locked("kernel"):
        if not root.exists():
            with step(f"User-Mode Linux from Debian {SUITE}"), tempfile.TemporaryDirectory(dir=folder()) as scratch:
                _unpack(Path(scratch))
                (Path(scratch) / "root").rename(root)
    return Kernel(root)


def _unpack(scratch: Path) -> None:
    root = scratch / "root"
    root.mkdir()
    for archive in _download(scratch):
        run(["dpkg-deb", "--extract", str(archive), str(root)])
    for name in ("usr/share/doc", "usr/share/man", "usr/share/lintian"):
        shutil.rmtree(root / name, ignore_errors=True)
    _gather_loader(root)


def _gather_loader(root: Path) -> None:
    """Inside one folder, so that one bind mount over the host's /lib64 brings in the whole C library."""
    library = root / "usr/lib/x86_64-linux-gnu"
    loader = library / "ld-linux-x86-64.so.2"
    shutil.rmtree(root / "lib64", ignore_errors=True)
    (root / "lib64").mkdir()
    shutil.copy2(loader.resolve(), root / "lib64" / loader.name)


def _download(scratch: Path) -> list[Path]:
    """With an apt of its own: the host's sources and package state stay as they are."""
    state = scratch / "apt"
    for name in ("lists/partial", "cache/archives/partial", "debs", "etc"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    (state / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    options = [
        f"Dir::State::lists={state}/lists",
        f"Dir::State::status={state}/status",
        f"Dir::Cache={state}/cache",
        f"Dir::Etc::sourcelist={state}/etc/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null",
        "Dir::Etc::preferences=/dev/null",
        "APT::Architecture=amd64",
        "APT::Architectures=amd64",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
        "Acquire::Retries=3",
    ]
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    run([*apt, "update"])
    run([*apt, "download", *PACKAGES], cwd=str(state / "debs"))
    return sorted((state / "debs").glob("*.deb"))
