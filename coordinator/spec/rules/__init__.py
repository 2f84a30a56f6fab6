"""What must hold between fields. Each rule is a generator of findings; all run, so that all errors come at once."""

from collections.abc import Collection

from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.decoding import overlaps
from coordinator.spec.problems import Path, SpecProblem
from coordinator.spec.rules import access, addresses, arguments, extra_files, kubelet, names, placement, quorum, volumes
from coordinator.spec.rules.finding import Draft, Rule
from coordinator.spec.yaml_tree import Fields, find

RULES: tuple[Rule, ...] = (
    *addresses.RULES,
    *placement.RULES,
    *quorum.RULES,
    *volumes.RULES,
    *access.RULES,
    *names.RULES,
    *kubelet.RULES,
    *arguments.RULES,
    *extra_files.RULES,
)


def broken_rules(spec: ClusterSpec, root: Fields, replaced: Collection[Path]) -> list[SpecProblem]:
    """Every finding of every rule whose inputs are right. `replaced`: the paths that were not and hold stand-ins."""
    unsure = {tuple(step for step in path if isinstance(step, str)) for path in replaced}
    draft = Draft(spec, root)
    return [
        SpecProblem.of(finding.path, find(root, finding.path)[0], finding.found, finding.allowed, finding.remedy)
        for rule in RULES
        if not any(overlaps(tuple(read.split(".")), unsure) for read in rule.reads)
        for finding in rule.broken(draft)
        if not overlaps(finding.path, replaced)
    ]
