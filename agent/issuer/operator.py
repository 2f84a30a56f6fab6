"""The ledger as root on a control-plane node reaches it: with the node's own files and its own access to S3."""

from collections.abc import Iterator
from pathlib import Path

from agent.aws.imds import Imds
from agent.durable import read_bounded
from agent.issuer.ledger import Entry, Ledger, prefix_of
from agent.issuer.store import SharedCredentials, list_keys, records
from agent.settings import Settings, read
from units.errors import Fatal
from units.issuer_config import MAX_BYTES, IssuerConfig, decode_issuer_config


def open_ledger(config_path: Path) -> Ledger:
    config, settings, credentials = _place(config_path)
    return Ledger(config, records(settings, config.region, credentials))


def entries(config_path: Path) -> Iterator[Entry]:
    """Unreadable ones come with no node, no group and no key."""
    config, settings, credentials = _place(config_path)
    ledger = Ledger(config, records(settings, config.region, credentials))
    for key in list_keys(settings, config.region, credentials, prefix_of(config)):
        instance = key.removeprefix(prefix_of(config)).removesuffix(".json")
        found = ledger.read(instance)
        if found is not None:
            yield found.entry or Entry(instance=instance, node="", group="", keys=())


def _place(config_path: Path) -> tuple[IssuerConfig, Settings, SharedCredentials]:
    content, settings = read_bounded(config_path, limit=MAX_BYTES), read()
    if content is None or settings is None:
        raise Fatal(
            "no-issuer-here",
            f"there is no {config_path}: this is no control-plane node, or it has not booted yet",
            remedy="run it on a control-plane node; `agent status` says whether it is one",
        )
    return decode_issuer_config(content), settings, SharedCredentials(Imds())
