"""What a change does to a running machine beyond its files, carried out: drain, kubelet's old state, reboot.

Which change needs what is the table of `units.actions`. Each step is noted before it is taken, so that a run that was
cut off knows what it owes: above all that a Node which it cordoned is uncordoned in the end.
"""

from collections.abc import Iterable

from units import paths
from units.actions import Action, Disruption, actions
from units.drain import drain
from units.errors import BootwrightError
from units.generations import Generations, Journal
from units.host import Host
from units.plan import Plan
from units.report import Failure

REBOOT_ASKED = f"{paths.RUN}/reboot-asked"  # gone with the boot in which it was asked for
KUBELET = "kubelet.service"
# kubelet does not start with another policy while these are there (KEP-1769; pkg/kubelet/cm).
KUBELET_STATE = (f"{paths.KUBELET}/cpu_manager_state", f"{paths.KUBELET}/memory_manager_state")


def disturbance(befores: Iterable[Plan], after: Plan) -> tuple[Action, ...]:
    """Of everything that may have left its mark on this machine, what the way to `after` disrupts."""
    return tuple(action for before in befores for action in actions(before, after))


def needs(disturbing: Iterable[Action], disruption: Disruption) -> bool:
    return any(action.disruption == disruption for action in disturbing)


def drained(journal: Journal, node: str, kept: Generations, host: Host) -> Journal:
    """The journal, once this machine is cordoned and empty. Raises what the API server says, or `drain-unfinished`."""
    if journal.drained:
        return journal
    schedulable = host.node_api.schedulable(node)
    if schedulable is None:  # no Node, so nothing of a scheduler's
        return journal
    if schedulable:
        kept.note_cordon(journal.target)
        host.node_api.set_schedulable(node, schedulable=False)
    drain(node, host)
    done = journal.model_copy(update={"drained": True})
    kept.write_journal(done)
    return done


def forget_resource_assignments(host: Host) -> None:
    """Of CPUs and memory to pods: kubelet makes them anew, under whatever policy it starts with next."""
    there = [path for path in KUBELET_STATE if host.files.read(path) is not None]
    if there:
        host.systemd.stop(KUBELET)
        for path in there:
            host.files.remove(path)


def rebooted(host: Host) -> bool:
    """Whether the machine went through the reboot that a journal says was asked for."""
    return host.files.read(REBOOT_ASKED) is None


def ask_reboot(journal: Journal, kept: Generations, host: Host) -> None:
    """The mark first: a journal that asks for a reboot, and no mark, is a machine that has been through it."""
    host.files.write(REBOOT_ASKED, f"{journal.target}\n".encode(), mode=0o644, owner="root", group="root")
    kept.write_journal(journal)
    host.systemd.reboot()


def uncordon(node: str, kept: Generations, host: Host) -> Failure | None:
    """What this agent cordoned and nobody else did. A failure is tried again by the next run: the note stays."""
    if not kept.cordoned:
        return None
    try:
        host.node_api.set_schedulable(node, schedulable=True)
    except BootwrightError as error:
        said = f"{node} is still cordoned after a drain: {error}"
        return Failure("still-cordoned", said, f"wait; or kubectl uncordon {node}", 4)
    kept.forget_cordon()
    return None
