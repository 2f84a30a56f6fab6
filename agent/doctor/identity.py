"""Who this machine is: its clock, IMDS, the role's credentials, and the enrolment."""

from agent import settings as enrolment
from agent.aws.http import Broken, Http, Timeouts
from agent.doctor.case import Case
from agent.doctor.endpoints import s3_url
from agent.doctor.finding import Finding, fail, failed, ok, skipped, warn, worst
from agent.settings import Settings
from agent.user_data import parse_user_data
from units.errors import BootwrightError

MOST_SECONDS = 60  # the issuer's own limit; S3 allows 15 minutes, STS five
_NOTICE_SECONDS = 5
_QUICK = Timeouts(connect=1.5, read=2.0, total=3.0)
_CLOCK_FIX = "chronyc tracking; chronyc makestep; on EC2 the time source is 169.254.169.123"
_ENDS_SOON = 60  # seconds; IMDS hands out new ones five minutes before the end


def clock(case: Case) -> Finding:
    """Against the Date headers of IMDS and, once enrolled, of S3: a clock may be synchronised to a wrong source."""
    patient = case.patient
    sources = {"IMDS": patient.imds_url}
    if case.settings and case.region:
        sources["S3"] = s3_url(case.settings, case.region)
    offsets = {name: offset for name, url in sources.items() if (offset := _offset(case, url)) is not None}
    for name, seconds in offsets.items():
        if abs(seconds) > MOST_SECONDS:
            side = "ahead of" if seconds > 0 else "behind"
            return fail(f"the clock is {_duration(abs(seconds))} {side} {name}'s", _CLOCK_FIX, "clock-wrong")
    compared = ", ".join(f"{seconds:+.0f} s to {name}" for name, seconds in offsets.items())
    compared = compared or "not compared: nobody tells the time"
    if any(abs(seconds) > _NOTICE_SECONDS for seconds in offsets.values()):
        return warn(compared, _CLOCK_FIX, "clock-wrong")
    if not patient.synchronised():
        return warn(f"the kernel's clock is not synchronised; {compared}", _CLOCK_FIX, "clock-not-synchronised")
    return ok(f"synchronised, {compared}")


def _offset(case: Case, url: str) -> float | None:
    """Seconds that this machine is ahead of a server; None if it does not say."""
    try:
        with Http().exchange("GET", f"{url}/", headers={}, timeouts=_QUICK) as response:
            theirs = response.date
    except Broken:
        return None
    return (case.patient.now() - theirs).total_seconds() if theirs else None


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def imds(case: Case) -> Finding:
    """A token, then the identity document: the code tells a service that is off from one that is not there."""
    instance = case.patient.imds().instance()
    case.learned.instance = instance
    return ok(f"{instance.instance_id} {instance.machine_type} in {instance.zone}, {instance.private_ip}")


def credentials(case: Case) -> Finding:
    found = case.patient.imds().credentials()
    case.learned.credentials = found
    if found.expires is None:
        return ok(f"{found.source}, without an end")
    left = (found.expires - case.patient.now()).total_seconds()
    if left < _ENDS_SOON:
        when = "ended" if left <= 0 else "end"
        return fail(
            f"the credentials of {found.source} {when} {found.expires:%Y-%m-%d %H:%M:%S} UTC by this machine's clock",
            f"check the clock first ({_CLOCK_FIX}); IMDS renews them by itself",
            "s3-expired-token",
        )
    return ok(f"{found.source}, good for another {left / 60:.0f} min")


def enrolled(case: Case) -> Finding:
    """What is in force: the file, raised by user-data; and what of it contradicts the other."""
    patient = case.patient
    on_disk = enrolment.read(patient.path(enrolment.PATH))
    offered, problem = _offered(case)
    if on_disk is None and offered is None:
        return problem or fail(
            f"there is no {enrolment.PATH}, and user-data holds no `agent enroll`",
            "put the output of `coordinator userdata GROUP` into the launch template's user-data",
            "not-enrolled",
        )
    settings = enrolment.merge(on_disk, offered) if offered else on_disk
    assert settings is not None
    case.learned.settings = settings
    told = ok(_told(settings, written=on_disk is not None))
    return worst([told, problem]) if problem and problem.state != "skipped" else told


def _offered(case: Case) -> tuple[Settings | None, Finding | None]:
    """What user-data says, and what is wrong with it. IMDS has a check of its own."""
    if case.learned.instance is None:
        return None, skipped("not written yet, and user-data cannot be asked for before imds is ok")
    try:
        return parse_user_data(case.patient.imds().user_data() or b""), None
    except BootwrightError as error:
        return None, failed(error)


def _told(settings: Settings, *, written: bool) -> str:
    where = "" if written else ", from user-data, not written yet"
    return (
        f"group {settings.group} of {settings.cluster}, {settings.store}; floors: root {settings.root_version}, "
        f"targets {settings.targets_version}{where}"
    )
