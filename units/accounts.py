"""User: a system account for a service that does not run as root."""

from dataclasses import dataclass

from units.host import Account, Host
from units.resource import Change, Description


@dataclass(frozen=True, slots=True)
class User:
    """An existing account is left as it is: packages bring theirs with numbers of their own."""

    name: str
    uid: int
    home: str = "/nonexistent"

    @property
    def key(self) -> str:
        return f"user:{self.name}"

    def check(self, host: Host) -> Change | None:
        return None if host.users.account(self.name) else Change(f"create with uid {self.uid}")

    def apply(self, host: Host) -> None:
        host.users.create(Account(self.name, self.uid, self.uid, self.home, "/usr/sbin/nologin"))

    def describe(self) -> Description:
        return Description(self.key, (f"uid {self.uid}", f"home {self.home}"))
