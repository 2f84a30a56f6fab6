"""A sandbox node that tells a stopwatch where the story of a boot has come to."""

from pathlib import Path
from typing import Any

from agent.linux.machine import MachineFacts
from agent.settings import Settings
from agent.trust import VerifiedRelease
from tests.bench.child import Stopwatch
from tests.bench.sandbox import SandboxNode
from units.host import Host
from units.manifest import Manifest
from units.report import Report


class WatchedNode(SandboxNode):
    """Phases: facts, enrolment, verify, plan, converge; what follows is the report."""

    def __init__(self, root: Path, imds_url: str, watch: Stopwatch) -> None:
        super().__init__(root, imds_url)
        self._watch = watch
        self._planned = False
        progress, converged = self.reporter.progress, self.reporter.converged

        def watched_progress(text: str) -> None:
            if text.startswith("1/") and not self._planned:  # the first resource is about to be looked at
                self._planned = True
                watch.ends("plan")
            progress(text)

        def watched_converged(report: Report) -> None:
            watch.ends("converge")
            converged(report)

        # The reporter is a plain dataclass: two of its methods are watched on their way.
        reporter: Any = self.reporter
        reporter.progress, reporter.converged = watched_progress, watched_converged

    def machine(self) -> MachineFacts:
        found = super().machine()
        self._watch.ends("facts")
        return found

    def enrolment(self) -> Settings:
        found = super().enrolment()
        self._watch.ends("enrolment")
        return found

    def verified_release(self) -> VerifiedRelease:
        self._watch.ends("report")  # between: the first status of this boot, local and in S3
        return super().verified_release()

    def host(self, manifest: Manifest) -> Host:
        self._watch.ends("verify")
        return super().host(manifest)
