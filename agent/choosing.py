"""Which manifest of its release this machine should run now: the facts for `units.rollout.decide`, and its answer.

The store is asked about a rollout only when everything signed already says yes: most runs ask nothing.
"""

from dataclasses import dataclass, replace

from agent.rollout_store import RolloutStore
from units.drift import drifted
from units.errors import BootwrightError
from units.etcd_members import quorum
from units.facts import NodeFacts
from units.generations import Failed, Generations
from units.health import health_checks, illnesses
from units.host import Host
from units.manifest import EtcdCluster, Manifest, Release, manifest_digest
from units.plan import plan
from units.rollout import Decision, Situation, decide
from units.transaction import HostFor


@dataclass(frozen=True, slots=True)
class Choice:
    """`manifest` is what to converge to; `waits` if this machine's turn has come and something of its own bars it."""

    decision: Decision
    manifest: Manifest
    quarantined: Failed | None = None  # why the manifest that it should run failed here
    waits: bool = False


def choose(release: Release, facts: NodeFacts, host_for: HostFor, store: RolloutStore, *, fresh: bool) -> Choice:
    """Raises nothing of the store's: what cannot be asked shuts the gate."""
    kept = Generations(host_for(release.stable).files)
    current = kept.current
    signed = Situation(
        instance_id=facts.instance_id,
        running=None if current is None else manifest_digest(current),
        fresh=fresh,
        quarantine=frozenset(kept.quarantine),
    )
    decision = decide(release, signed)
    waits = False
    if decision.choice == "candidate" and release.rollout is not None:
        host = host_for(current or release.stable)
        asked = replace(signed, halted=store.halted(), failures=store.failures(release.rollout.serial))
        if current is not None and not _is_under_way(kept, release.candidate):
            asked = replace(
                asked,
                healthy=not _essential_illness(current, facts, host),
                drifted=bool(drifted(plan(current, facts), host)),
                quorum_without_me=_quorum_without_me(current, facts, host),
            )
        decision = decide(release, asked)
        waits = decision.choice != "candidate"
    manifest = decision.manifest or current or release.stable
    wanted = release.candidate if release.candidate is not None else release.stable
    return Choice(decision, manifest, kept.quarantine.get(manifest_digest(wanted)), waits)


def _is_under_way(kept: Generations, candidate: Manifest | None) -> bool:
    """A power cut in the middle of this very candidate: what looks ill and drifted is our own doing."""
    journal = kept.journal
    return journal is not None and candidate is not None and journal.target == manifest_digest(candidate)


def _essential_illness(manifest: Manifest, facts: NodeFacts, host: Host) -> bool:
    return bool(illnesses(tuple(check for check in health_checks(manifest, facts) if check.essential), host))


def _quorum_without_me(manifest: Manifest, facts: NodeFacts, host: Host) -> bool:
    """Whether every etcd cluster of more than one member goes on when this machine is down for a while."""
    return all(_goes_on(etcd, manifest, facts, host) for etcd in manifest.etcd if len(etcd.members) > 1)


def _goes_on(etcd: EtcdCluster, manifest: Manifest, facts: NodeFacts, host: Host) -> bool:
    own = {m.name for m in etcd.members if (m.group, m.zone) == (manifest.group.name, facts.zone)}
    try:
        with host.etcd.admin(etcd.name, (f"https://127.0.0.1:{etcd.client_port}",)) as admin:
            voters = admin.view().voters
    except BootwrightError:
        return False
    return sum(voter.healthy for voter in voters if voter.name not in own) >= quorum(len(voters))
