"""The ledger as root on a control-plane node reaches it: with the node's own files and its own access to S3."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent import settings as enrolment
from agent.aws.imds import Imds
from agent.durable import read_bounded
from agent.issuer.ledger import Entry, Ledger, prefix_of
from agent.issuer.store import SharedCredentials, list_keys, records
from agent.settings import Settings
from units.errors import Fatal
from units.issuer_config import MAX_BYTES, IssuerConfig, decode_issuer_config


@dataclass(frozen=True, slots=True)
class Place:
    """One control-plane node."""

    config: IssuerConfig
    settings: Settings
    credentials: SharedCredentials

    def ledger(self) -> Ledger:
        return Ledger(self.config, records(self.settings, self.config.region, self.credentials))

    def entries(self) -> Iterator[Entry]:
        """Unreadable ones come with no node, no group and no key."""
        ledger, prefix = self.ledger(), prefix_of(self.config)
        for key in list_keys(self.settings, self.config.region, self.credentials, prefix):
            instance = key.removeprefix(prefix).removesuffix(".json")
            found = ledger.read(instance)
            if found is not None:
                yield found.entry or Entry(instance=instance, node="", group="", keys=())


def here(config_path: Path, settings_path: Path = enrolment.PATH) -> Place:
    content, settings = read_bounded(config_path, limit=MAX_BYTES), enrolment.read(settings_path)
    if content is None or settings is None:
        raise Fatal(
            "no-issuer-here",
            f"there is no {config_path if content is None else settings_path}: this is no control-plane node, or it "
            "has not booted yet",
            remedy="run it on a control-plane node; `agent status` says whether it is one",
        )
    return Place(decode_issuer_config(content), settings, SharedCredentials(Imds()))
