"""What `python -m tests.lab status` shows a person."""

from typing import Any

from tests.lab.region.settings import ROOT_DEVICE

STATES = {"running": "green", "pending": "yellow", "stopped": "red", "terminated": "dim"}


def print_status(status: dict[str, Any], endpoint_url: str, balancer: str) -> None:
    """Instances, volumes but root disks, faults and the load balancer, as tables on the terminal."""
    from rich.console import Console

    console = Console()
    console.print(f"[bold]AWS endpoint[/] {endpoint_url}")
    targets = ", ".join(status["balancer"]) or "nobody yet"
    console.print(f"[bold]load balancer[/] {balancer} -> {targets}\n")
    console.print(_instances(status["instances"]))
    for row in status["instances"]:
        if row["reason"].startswith("Server."):
            console.print(f"[red]{row['id']}[/]: {row['message']}")
    data = [volume for volume in status["volumes"] if volume["device"] != ROOT_DEVICE]
    if data:
        console.print(_volumes(data))
    for fault in status["faults"]:
        console.print(f"[red]fault {fault['name']}[/]: {fault['what']}")


def _instances(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("name", "instance", "state", "zone", "address", "profile", title="instances", box=None)
    _fold(table)
    for row in rows:
        state = f"[{STATES.get(row['state'], 'default')}]{row['state']}[/]"
        if row["state"] == "running" and not row["powered"]:
            state += " [red]no power[/]"
        table.add_row(row["tags"].get("Name", ""), row["id"], state, row["zone"], row["private_ip"], row["profile"])
    return table


def _volumes(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("volume", "GiB", "zone", "state", "instance", "device", "name", title="\nvolumes", box=None)
    _fold(table)
    for row in rows:
        name, size = row["tags"].get("Name", ""), str(row["size_gib"])
        table.add_row(row["id"], size, row["zone"], row["state"], row["instance"], row["device"], name)
    return table


def _fold(table: Any) -> None:
    """An id that was cut short helps nobody."""
    for column in table.columns:
        column.overflow = "fold"
