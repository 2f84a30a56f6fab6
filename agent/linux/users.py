"""System accounts, with numbers that are the same on every node: files on a volume keep their owner when it moves."""

from collections.abc import Iterator
from pathlib import Path

from agent.linux.run import Run, run
from units.errors import Fatal
from units.host import Account

_TIMEOUT = 30.0


class LinuxUsers:
    """Implements `units.host.Users` on /etc/passwd and /etc/group, where `useradd` writes. `root` is a sandbox."""

    def __init__(self, root: str | Path = "/", run: Run = run) -> None:
        self._root = Path(root)
        self._run = run

    def account(self, name: str) -> Account | None:
        for entry in self._entries("passwd"):
            if entry[0] == name:
                return Account(name, int(entry[2]), int(entry[3]), entry[5], entry[6])
        return None

    def create(self, account: Account) -> None:
        """Finishes what an interrupted call left: a group without its user."""
        self._refuse_taken(account)
        if not any(entry[0] == account.name for entry in self._entries("group")):
            self._add(["groupadd", "--system", *self._prefix, "--gid", str(account.gid), "--", account.name])
        if self.account(account.name) is None:
            command = ["useradd", "--system", "--no-create-home", "--no-log-init", *self._prefix]
            command += ["--uid", str(account.uid), "--gid", str(account.gid)]
            command += ["--home-dir", account.home, "--shell", account.shell, "--", account.name]
            self._add(command)

    @property
    def _prefix(self) -> list[str]:
        return [] if self._root == Path("/") else ["--prefix", str(self._root)]

    def _add(self, command: list[str]) -> None:
        self._run(command, timeout=_TIMEOUT)

    def _refuse_taken(self, wanted: Account) -> None:
        taken = [
            *_conflicts("user", self._entries("passwd"), wanted.name, wanted.uid),
            *_conflicts("group", self._entries("group"), wanted.name, wanted.gid),
        ]
        if taken:
            raise Fatal(
                "account-number-taken",
                f"cannot create {wanted.name!r} as {wanted.uid}:{wanted.gid}: {'; '.join(taken)}",
                remedy="build the image so that this name and number are free or already belong together",
            )

    def _entries(self, file: str) -> list[list[str]]:
        """The well-formed lines: passwd has seven fields, group four."""
        fields = {"passwd": 7, "group": 4}[file]
        path = self._root / "etc" / file
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [entry for line in lines if len(entry := line.split(":")) == fields and entry[2].isdecimal()]


def _conflicts(kind: str, entries: list[list[str]], name: str, number: int) -> Iterator[str]:
    for found, _, its_number, *_ in entries:
        if found == name and int(its_number) != number:
            yield f"{kind} {name!r} exists with number {its_number}"
        if found != name and int(its_number) == number:
            yield f"{kind} number {number} belongs to {found!r}"
