"""What etcd's versions ask for: how flags are called, and which way from one version to the next. Pure.

Sources: etcd's upgrade guides 3.5, 3.6 and 3.7, and its changelogs (etcd-pki.md 2.1).
"""

from collections.abc import Iterable

from units.errors import Invalid, Refused

Version = tuple[int, int, int]
Minor = tuple[int, int]

# 3.4, of Debian 12 and Ubuntu 24.04, does not start: it lacks flags that every member gets, and before 3.4.29 /readyz.
# Data of 3.4 is taken over: what served it before may be somebody else's.
OLDEST: Minor = (3, 5)
NEWEST: Minor = (3, 7)
# To leave a minor, its newest members have to be at least this: before, learners may be promoted without the others
# knowing, and members that were removed come back (3.5.20, 3.5.24, 3.5.26).
LEAVE_FROM: dict[Minor, Version] = {(3, 4): (3, 4, 0), (3, 5): (3, 5, 32), (3, 6): (3, 6, 11)}
FEATURE_GATES_SINCE: Minor = (3, 6)  # before: --experimental-* flags, with which 3.7 does not start
_RENAMED = {
    "experimental-initial-corrupt-check": "feature-gates=InitialCorruptCheck",
    "experimental-compact-hash-check-enabled": "feature-gates=CompactHashCheck",
    "experimental-watch-progress-notify-interval": "watch-progress-notify-interval",
    "experimental-corrupt-check-time": "corrupt-check-time",
    "experimental-compaction-batch-limit": "compaction-batch-limit",
    "experimental-peer-skip-client-san-verification": "peer-skip-client-san-verification",
    "experimental-bootstrap-defrag-threshold-megabytes": "bootstrap-defrag-threshold-megabytes",
    "experimental-max-learners": "max-learners",
    "experimental-warning-apply-duration": "warning-apply-duration",
    "experimental-memory-mlock": "memory-mlock",
    "experimental-snapshot-catchup-entries": "snapshot-catchup-entries",
    "experimental-compaction-sleep-interval": "compaction-sleep-interval",
    "experimental-downgrade-check-time": "downgrade-check-time",
    "experimental-warning-unary-request-duration": "warning-unary-request-duration",
}
_GONE_IN_3_6 = ("enable-v2", "experimental-enable-v2v3", "proxy")


def parse(text: str) -> Version:
    """Of `3.5.16`, with or without what a distribution puts behind it. Refused for what is no version of etcd 3."""
    parts = text.partition("-")[0].partition("+")[0].split(".")
    if len(parts) == 2:
        parts.append("0")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise Refused("etcd-version-unknown", f"{text!r} is no version of etcd", remedy="`etcd --version`")
    major, minor, patch = (int(part) for part in parts)
    return major, minor, patch


def check_minor(minor: Minor) -> None:
    """Invalid `etcd-too-old` for an etcd that knows neither our flags nor our probes; (0, 0) is none at all."""
    if minor >= OLDEST:
        return
    found = "no etcd" if minor == (0, 0) else f"etcd {minor[0]}.{minor[1]}, which would not start"
    oldest = f"{OLDEST[0]}.{OLDEST[1]}"
    raise Invalid(
        "etcd-too-old",
        f"this machine has {found}: a member is etcd {oldest} or newer",
        remedy="launch an image with a newer etcd: Packer's variable `etcd` pins one (docs/image.md)",
    )


def check_flags(flags: Iterable[str], minor: Minor) -> tuple[str, ...]:
    """What is wrong with extra flags (without dashes): etcd does not start with one that it does not know."""
    wrong = []
    for flag in flags:
        if minor >= (3, 7) and flag.startswith("experimental-"):
            now = _RENAMED.get(flag)
            wrong.append(f"--{flag} is gone in etcd 3.7{f': --{now}' if now else ''}")
        elif minor >= FEATURE_GATES_SINCE and flag in _GONE_IN_3_6:
            wrong.append(f"--{flag} is gone in etcd 3.6")
        elif minor < FEATURE_GATES_SINCE and (flag == "feature-gates" or flag in _RENAMED.values()):
            old = next((name for name, now in _RENAMED.items() if now == flag), None)
            wrong.append(f"--{flag} begins with etcd 3.6{f'; in 3.5 it is --{old}' if old else ''}")
    return tuple(wrong)


def check_upgrade(running: Iterable[str], wanted: str) -> None:
    """Refused `etcd-upgrade-path` if a member of version `wanted` may not join a cluster whose members run these.

    One minor at a time, from a patch that is safe to leave, and never back: an older etcd does not start on newer data.
    An empty `running` is a new cluster.
    """
    new = parse(wanted)
    versions = [parse(one) for one in running]
    if not OLDEST <= new[:2] <= NEWEST:
        raise _refused(f"etcd {wanted} is not one that this agent knows", f"3.{OLDEST[1]} to 3.{NEWEST[1]} are")
    for old in versions:
        shown = ".".join(str(part) for part in old)
        if new[:2] < old[:2]:
            raise _refused(
                f"a member runs etcd {shown}: {wanted} does not start on its data",
                "downgrades need `etcdctl downgrade`, or a restore of a backup",
            )
        if new[:2] > (old[0], old[1] + 1):
            raise _refused(f"a member runs etcd {shown}: {wanted} is more than one minor away", _next(old))
        floor = LEAVE_FROM.get(old[:2])
        if new[:2] > old[:2] and floor and old < floor:
            safe = ".".join(str(part) for part in floor)
            raise _refused(f"a member runs etcd {shown}: 3.{new[1]} may be joined only from {safe}", _next(old))


def restore_problem(backup: str, here: str) -> str:
    """Why a backup that etcd `backup` took should not be restored by members of version `here`; empty if nothing is.

    etcd reads data of its own minor and of the one before. (A snapshot of 3.6 was restored on 3.5.16 in a trivial case,
    etcd-pki.md 2.1; nobody promises it.)
    """
    taken, mine = parse(backup)[:2], parse(here)[:2]
    if taken > mine:
        return f"etcd 3.{mine[1]} does not read what a newer one wrote: the backup is of {backup}"
    if mine > (taken[0], taken[1] + 1):
        return f"etcd 3.{mine[1]} reads data of 3.{mine[1] - 1} at the oldest: the backup is of {backup}"
    return ""


def _next(old: Version) -> str:
    floor = LEAVE_FROM.get(old[:2], old)
    if old < floor:
        return f"first an image with etcd {'.'.join(str(part) for part in floor)} or a later 3.{old[1]} on every member"
    return f"first an image with etcd 3.{old[1] + 1} on every member"


def _refused(message: str, remedy: str) -> Refused:
    return Refused("etcd-upgrade-path", message, remedy=remedy)
