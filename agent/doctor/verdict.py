"""One line at the end: the first cause. The order of the checks is the order of causes. Pure."""

from collections.abc import Sequence

from agent.doctor.finding import Examined


def first_cause(examined: Sequence[Examined]) -> Examined | None:
    return next((one for one in examined if one.finding.state == "fail"), None)


def verdict(examined: Sequence[Examined]) -> str:
    cause = first_cause(examined)
    if cause is not None:
        code = f" ({cause.finding.code})" if cause.finding.code else ""
        fix = f"; fix: {cause.finding.fix}" if cause.finding.fix else ""
        return f"first cause: {cause.check}{code}: {cause.finding.found}{fix}"
    warned = [one.check for one in examined if one.finding.state == "warn"]
    if warned:
        return f"nothing fails; look at {', '.join(warned)}"
    return "nothing is wrong"
