"""`make demo`: a cluster spec becomes a control-plane node and two workers, with the real commands, on this machine.

Every step prints the command that a person would type. The lab plays AWS and Terraform: it makes the network, the
etcd volume, the instances and the auto scaling group; coordinator and agent are the real ones, unmodified.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.lab import packer
from tests.lab.kubernetes.provide import provide
from tests.lab.region.client import LabError
from tests.lab.run import CommandFailed
from tests.lab.scenario import GROUP, WORKERS, Scenario, StepFailed
from tests.lab.screen import Screen

RUN_DIRECTORY = Path(os.environ.get("BOOTWRIGHT_LAB", "/var/tmp/bootwright-lab"))
KEPT = Path(os.environ.get("BOOTWRIGHT_CACHE", "/var/cache/bootwright")) / "kubernetes"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.demo", description=__doc__)
    parser.add_argument("--down", action="store_true", help="tear the lab down at the end")
    parser.add_argument(
        "--image",
        choices=("packer", "baked"),
        help="an AMI that `packer build` makes on a machine of the lab, or the same install script in a chroot; "
        "default: packer, where there is one that can",
    )
    arguments = parser.parse_args()
    screen = Screen()
    begun = time.monotonic()
    provided = provide(KEPT)
    screen.note(
        f"Kubernetes {provided.version}: "
        + ("real binaries" if provided.real else "no KUBERNETES_BIN_DIR, so named doubles of kubelet and API server")
    )
    lacking = packer.why_not()
    if lacking and not arguments.image:
        screen.note(f"{lacking}: the image is baked in a chroot, by the same install script")
    by_packer = arguments.image == "packer" or not (lacking or arguments.image)
    scenario = Scenario(RUN_DIRECTORY, provided, screen, by_packer=by_packer)
    try:
        scenario.up()
        scenario.found()
        scenario.publish()
        control_plane = scenario.launch(GROUP)
        worker = scenario.launch(WORKERS)  # at the same time: it waits for its certificates until somebody issues them
        scenario.wait_until_ready(control_plane)
        scaled = scenario.scale_out(WORKERS)
        for instance in (worker, scaled):
            scenario.wait_until_ready(instance)
        _show(scenario, control_plane, scaled, screen)
    except CommandFailed as error:
        screen.note(f"\nthe image was not built: {error}")
        return 1
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
            f"The lab is up. Look around: python -m tests.lab status | ssh {scaled} | console {scaled} -f\n"
            "End it: make down"
        )
    screen.note(f"demo done in {time.monotonic() - begun:.0f} s")
    return 0


def _show(scenario: Scenario, control_plane: str, worker: str, screen: Screen) -> None:
    screen.step("What the worker says of itself")
    sys.stdout.write(scenario.on_node(worker, "agent", "status") + "\n")
    screen.step("Its certificates")
    sys.stdout.write(scenario.on_node(worker, "agent", "certs") + "\n")
    screen.step("What the coordinator sees")
    scenario.coordinator("status")
    if scenario.provided.real:
        screen.step("What Kubernetes says")
        screen.command(("kubectl", "get", "nodes", "-o", "wide"))
        sys.stdout.write(scenario.kubectl("get", "nodes", "-o", "wide").stdout)
    else:
        screen.step("What the double of kubelet vouches for")
        sys.stdout.write(scenario.on_node(control_plane, "cat", "/run/bootwright/kubelet-double.json") + "\n")
        screen.step("What the double of kube-apiserver says")
        for node in scenario.kubernetes().nodes().values():
            group = node.labels.get("bootwright.io/group", "")
            sys.stdout.write(f"{node.name}  Ready={node.ready}  {node.address}  {group}  {node.kubelet}\n")


if __name__ == "__main__":
    sys.exit(main())
