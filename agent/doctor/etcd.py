"""etcd of a control-plane node: its volume first, then the member, then the cluster's alarms."""

from collections.abc import Iterator

from agent.aws.ec2 import Ec2Access
from agent.aws.volumes import Ec2Volumes
from agent.doctor.case import Case
from agent.doctor.finding import Finding, fail, ok, skipped, warn, worst
from agent.doctor.machine import mounted
from agent.doctor.services import look_at_unit, not_that_far
from agent.etcd.admin import EtcdClients
from agent.etcd.health import readiness
from agent.etcd.maintenance import list_alarms
from units.errors import BootwrightError
from units.host import VolumeClaim
from units.manifest import EtcdCluster, Manifest
from units.paths import ETCD, authority_bundle, pem
from units.services.etcd import claim_of
from units.volumes import Attach, Refuse, Use, Wait, choose


def volumes(case: Case) -> Finding:
    """From the mount table alone; EC2 is asked only for a volume that is not here, about who holds it."""
    manifest = case.manifest
    if manifest is None or case.role != "control-plane":
        return skipped("not a control-plane node" if case.role else "no manifest is known yet")
    return worst([_volume(case, manifest, cluster) for cluster in manifest.etcd])


def _volume(case: Case, manifest: Manifest, cluster: EtcdCluster) -> Finding:
    mount = f"{ETCD}/{cluster.name}"
    if mounted(case, mount):
        return ok(f"{mount} is mounted")
    claim = _claim(case, manifest, cluster)
    credentials = case.learned.credentials
    if claim is None or credentials is None or case.settings is None:
        fix = "agent status names what the volume waits for; the checks above say why EC2 cannot be asked"
        return fail(f"{mount} is not mounted, and EC2 cannot be asked who has its volume", fix, "volume-not-mounted")
    access = Ec2Access(case.region, lambda: credentials, case.settings.endpoint)
    found = Ec2Volumes(access, instance_id=case.instance_id).candidates(claim)
    zone = case.learned.instance.zone if case.learned.instance else ""
    match choose(claim, found, zone, case.instance_id):
        case Refuse(code=code, reason=reason, remedy=remedy):
            return fail(reason, remedy, code)
        case Wait(code=code, reason=reason):
            return fail(reason, "terminate the holder, or wait for it; never detach from a running one", code)
        case Attach(volume=volume):
            return warn(f"{volume.volume_id} is free, and not attached yet", "agent boot", "volume-not-mounted")
        case Use(volume=volume):
            said = f"{volume.volume_id} is attached, but not mounted at {mount}"
            return fail(said, "agent boot says why; lsblk; dmesg | tail", "volume-not-mounted")


def _claim(case: Case, manifest: Manifest, cluster: EtcdCluster) -> VolumeClaim | None:
    """Of the member here: the one that its group runs in its zone."""
    zone = case.learned.instance.zone if case.learned.instance else ""
    here = [one for one in cluster.members if (one.group, one.zone) == (manifest.group.name, zone)]
    return claim_of(manifest, cluster, here[0]) if len(here) == 1 else None


def etcd(case: Case) -> Finding:
    if case.manifest is None or case.role != "control-plane":
        return skipped("not a control-plane node" if case.role else "no manifest is known yet")
    return worst([finding for cluster in case.manifest.etcd for finding in _member(case, cluster)])


def _member(case: Case, cluster: EtcdCluster) -> Iterator[Finding]:
    unit = f"bootwright-etcd-{cluster.name}.service"
    look = look_at_unit(case, unit)
    if not look.installed:
        yield skipped(f"no plan has come as far as {unit}")
        return
    if look.idle and not_that_far(case):
        yield skipped(f"{unit} is not started yet: no plan has come so far")
        return
    if not look.active:
        yield fail(str(look), f"journalctl -b -u {unit}; agent status", "unit-not-started")
        return
    said = readiness(cluster.name, cluster.metrics_port, case.patient.probes)
    if said:
        yield fail(
            f"etcd {cluster.name} is not ready, which without a quorum it never is: {said}",
            "a majority of the members must run: `agent doctor` on the other control-plane nodes; if their volumes "
            "are lost for good, `coordinator etcd restore`",
            "etcd-not-ready",
        )
        return
    yield ok(f"etcd {cluster.name} is ready")
    yield from _alarms(case, cluster)


def _alarms(case: Case, cluster: EtcdCluster) -> Iterator[Finding]:
    patient = case.patient
    credential = patient.path(pem("etcd", "healthcheck-client"))
    if not credential.exists():
        return
    bundle = patient.path(authority_bundle("etcd-clients"))
    clients = EtcdClients((f"https://127.0.0.1:{cluster.client_port}",), str(bundle), str(credential))
    try:
        with clients.gateway() as gateway:
            alarms = list_alarms(gateway)
    except BootwrightError as error:
        yield warn(f"etcd {cluster.name} cannot be asked for its alarms: {error}", error.remedy, error.code)
        return
    for alarm in alarms:
        full = alarm.kind == "NOSPACE"
        fix = "agent etcd status; it compacts and defragments by itself" if full else "replace the member it names"
        yield fail(f"etcd {cluster.name}: alarm {alarm.kind} on {alarm.member_id:x}", fix, "etcd-alarm")
