"""`make demo`: a cluster spec becomes a running control-plane node, with the real commands, on this machine.

Every step prints the command that a person would type. The lab plays AWS and Terraform: it makes the network, the
etcd volume and the instance; coordinator and agent are the real ones, unmodified.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.lab.kubernetes.provide import provide
from tests.lab.region.client import LabError
from tests.lab.scenario import GROUP, Scenario, StepFailed
from tests.lab.screen import Screen

RUN_DIRECTORY = Path(os.environ.get("BOOTWRIGHT_LAB", "/var/tmp/bootwright-lab"))
KEPT = Path(os.environ.get("BOOTWRIGHT_CACHE", "/var/cache/bootwright")) / "kubernetes"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.demo", description=__doc__)
    parser.add_argument("--down", action="store_true", help="tear the lab down at the end")
    arguments = parser.parse_args()
    screen = Screen()
    begun = time.monotonic()
    provided = provide(KEPT)
    screen.note(
        f"Kubernetes {provided.version}: "
        + ("real binaries" if provided.real else "no KUBERNETES_BIN_DIR, so a named double of kubelet vouches")
    )
    scenario = Scenario(RUN_DIRECTORY, provided, screen)
    try:
        scenario.up()
        scenario.found()
        scenario.publish()
        instance = scenario.launch(GROUP)
        scenario.wait_until_ready(instance)
        _show(scenario, instance, screen)
    except LabError as error:
        # The region's whole log is in its run directory; its last line is the reason.
        screen.note(f"\nthe lab did not come up: {str(error).splitlines()[-1]}")
        return 1
    except StepFailed as error:
        screen.note(f"\nthe demo stops here: {error}")
        screen.note("the lab is still up to look at: python -m tests.lab status; end it: make down")
        return 1
    except KeyboardInterrupt:
        screen.note("interrupted; ending the lab")
        scenario.down()
        return 130
    if arguments.down:
        scenario.down()
    else:
        screen.note(
            f"The lab is up. Look around: python -m tests.lab status | ssh {instance} | console {instance} -f\n"
            "End it: make down"
        )
    screen.note(f"demo done in {time.monotonic() - begun:.0f} s")
    return 0


def _show(scenario: Scenario, instance: str, screen: Screen) -> None:
    screen.step("What the node says of itself")
    sys.stdout.write(scenario.on_node(instance, "agent", "status") + "\n")
    screen.step("What the coordinator sees")
    scenario.coordinator("status")
    if scenario.provided.real:
        screen.step("What Kubernetes says")
        screen.command(("kubectl", "get", "nodes", "-o", "wide"))
        sys.stdout.write(scenario.kubectl("get", "nodes", "-o", "wide").stdout)
    else:
        screen.step("What the double of kubelet vouches for")
        sys.stdout.write(scenario.on_node(instance, "cat", "/run/bootwright/kubelet-double.json") + "\n")


if __name__ == "__main__":
    sys.exit(main())
