"""`coordinator trust status`, and the commands under `coordinator trust rotate`."""

from typing import TYPE_CHECKING, Any

import typer

from coordinator.commands import trust_keys, trust_phases
from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, show_table, warn

if TYPE_CHECKING:
    from coordinator.rotation.overview import RingState, RoleState, TrustOverview

ROOT_WARNING_DAYS = 90

HELP = """Show every key that the cluster rests on: who signs what, until when, and what a rotation waits for.

HERE says which signing keys this key directory can use. Exits 1 when something has expired or the root has 90 days or
less: a new root needs people with offline keys.

\b
Examples:
  coordinator trust status -f cluster.yaml
  coordinator trust status -f cluster.yaml --json | jq '.authorities[] | select(.unconfirmed != [])'
"""
ROTATE_HELP = """Replace keys of a running cluster, without a moment in which a node cannot verify what it meets."""

app = typer.Typer(no_args_is_help=True, help="Show and replace the keys that a cluster rests on.")
rotate = typer.Typer(no_args_is_help=True, help=ROTATE_HELP)
trust_phases.register(rotate)
trust_keys.register(rotate)
app.add_typer(rotate, name="rotate")


@app.command(help=HELP, short_help="Show every key, its expiry, and what a rotation waits for.")
def status(
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
    from coordinator.rotation.overview import overlook

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    now = utc_now()
    overview = overlook(here.open_repository(), here.directory, now)
    for warning in expiry_warnings(overview.state, now):
        warn(warning)
    if json:
        print_json(_document(overview))
    else:
        _show(overview)
    if any(role.days_left < (ROOT_WARNING_DAYS if role.role == "root" else 0) for role in overview.roles):
        raise typer.Exit(1)


def _show(overview: "TrustOverview") -> None:
    show_table(
        ["ROLE", "VERSION", "THRESHOLD", "KEY", "WHERE", "HERE", "EXPIRES"],
        [row for role in overview.roles for row in _role_rows(role)],
    )
    show_table(
        ["AUTHORITY", "PHASE", "KEY (SPKI)", "NAME", "USE", "EXPIRES"],
        [row for ring in overview.rings for row in _ring_rows(ring)],
    )
    waiting = [[ring.name, n.instance_id, n.group, n.reason] for ring in overview.rings for n in ring.unconfirmed]
    if waiting:
        show_table(["ROTATION", "INSTANCE", "GROUP", "NOT CONFIRMED"], waiting)
    for ring in overview.rings:
        if ring.command:
            state = "waits for nodes, then" if ring.unconfirmed else "every node has confirmed it; next"
            note(f"{ring.name}: {state}: {ring.command}")


def _role_rows(role: "RoleState") -> list[list[str]]:
    rows = []
    for number, key in enumerate(role.keys):
        told = number == 0
        rows.append(
            [
                role.role if told else "",
                str(role.version) if told else "",
                f"{role.threshold} of {len(role.keys)}" if told else "",
                key.keyid[:16],
                key.uri,
                "yes" if key.available else "no",
                f"{role.expires:%Y-%m-%d} ({role.days_left}d)" if told else "",
            ]
        )
    return rows


def _ring_rows(ring: "RingState") -> list[list[str]]:
    phase = f"{ring.rotation.phase} (serial {ring.rotation.serial})" if ring.rotation else "-"
    return [
        [
            ring.name if number == 0 else "",
            phase if number == 0 else "",
            public.spki_sha256[:16],
            public.common_name,
            "signs" if public.signs else "trusted",
            f"{public.not_after:%Y-%m-%d}" if public.not_after else "",
        ]
        for number, public in enumerate(ring.publics)
    ]


def _document(overview: "TrustOverview") -> dict[str, Any]:
    return {
        "cluster": overview.cluster,
        "roles": [
            {
                "role": role.role,
                "version": role.version,
                "threshold": role.threshold,
                "keys": [{"keyid": key.keyid, "uri": key.uri, "available": key.available} for key in role.keys],
                "expires": f"{role.expires:%Y-%m-%dT%H:%M:%SZ}",
                "days_left": role.days_left,
            }
            for role in overview.roles
        ],
        "authorities": [
            {
                "name": ring.name,
                "phase": ring.rotation.phase if ring.rotation else None,
                "serial": ring.rotation.serial if ring.rotation else None,
                "published": ring.rotation.published if ring.rotation else None,
                "secret": ring.secret,
                "keys": [
                    {
                        "spki_sha256": public.spki_sha256,
                        "common_name": public.common_name,
                        "not_after": f"{public.not_after:%Y-%m-%dT%H:%M:%SZ}" if public.not_after else None,
                        "signs": public.signs,
                    }
                    for public in ring.publics
                ],
                "next": ring.command or None,
                "unconfirmed": [
                    {"instance_id": node.instance_id, "group": node.group, "reason": node.reason}
                    for node in ring.unconfirmed
                ],
            }
            for ring in overview.rings
        ],
    }
