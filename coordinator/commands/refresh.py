"""`coordinator refresh`."""

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import print_json, say, warn

HELP = """Sign the repository's freshness again, with the online key only. Run it every day.

It cannot change what nodes get. Safe to run from several places, and while somebody publishes. Exits 4 when the store
cannot be reached: the next run is soon enough.

\b
Example (crontab, one line):
  17 4 * * *  BOOTWRIGHT_PASSPHRASE_FILE=/etc/bootwright/passphrase coordinator refresh -f /etc/bootwright/cluster.yaml
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Sign freshness again, with the online key only.")(refresh)


def refresh(
    *,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.health import expiry_warnings
    from coordinator.location import Where, locate
    from coordinator.repository import utc_now

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    state = here.open_repository().refresh(here.signing_keys()).state
    for warning in expiry_warnings(state, utc_now()):
        warn(warning)
    if json:
        print_json({"versions": dict(state.versions), "days_left": dict(state.days_left(utc_now()))})
        return
    say(f"fresh until {state.timestamp.expires:%Y-%m-%dT%H:%MZ} (timestamp {state.timestamp.version})")
