"""The lab's console: `python -m tests.lab --help`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tests.lab.region import lab
from tests.lab.region.client import LabClient, LabError
from tests.lab.region.settings import BRIDGE, LOOPBACK, RegionSettings

HELP = """An EC2 region on this machine, for people.

A region is one process: an AWS API (moto behind strict rules), IMDSv2, a load balancer. Its instances are virtual
machines with a real kernel. Nothing leaves the bridge bw-lab0, and `down` ends everything `up` started.

\b
  python -m tests.lab up --group control-plane   a region with one machine in it
  python -m tests.lab status                     what runs
  python -m tests.lab ssh control-plane          a shell in it
  python -m tests.lab exec control-plane -- systemctl --failed
  python -m tests.lab power-cut control-plane    pull the plug; it boots again
  python -m tests.lab fault --help               make things go wrong
  eval "$(python -m tests.lab env)"              point AWS tools here
  python -m tests.lab down

INSTANCE is an instance id, the unique beginning of one, or the machine's Name (its group); NAME/2 is the second one
of that name.
"""

WIDE = {"max_content_width": 110}
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, context_settings=WIDE)
fault = typer.Typer(help="Make things go wrong on purpose; `fault clear` makes them right again.", no_args_is_help=True)
app.add_typer(fault, name="fault")

RUN_DIRECTORY = Path(os.environ.get("BOOTWRIGHT_LAB", "/var/tmp/bootwright-lab"))
InstanceName = Annotated[str, typer.Argument(metavar="INSTANCE", help="id, beginning of an id, or Name")]


def client() -> LabClient:
    return LabClient(RUN_DIRECTORY)


@app.command()
def up(
    group: Annotated[list[str] | None, typer.Option(help="Launch a machine of this group; repeat for more.")] = None,
    instances: Annotated[int, typer.Option(min=1, help="How many of each group.")] = 1,
    image: Annotated[str, typer.Option(help="Baked image to boot; default: bake this checkout's.")] = "",
    doubles: Annotated[
        bool, typer.Option("--doubles", help="No machines: doubles, on loopback, without root.")
    ] = False,
) -> None:
    """Start a region in the background, and machines in it."""
    if doubles:
        settings = RegionSettings(machines=lab.DOUBLES, network=LOOPBACK)
    else:
        settings = RegionSettings(network=BRIDGE, image_id=image or _baked())
    RUN_DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = lab.start(RUN_DIRECTORY, settings)
    print(f"region {settings.region} is up: {started.endpoint_url}  (log: {started.run.log})")
    for name in group or []:
        for _ in range(instances):
            print(f"launched {started.run_instance(name)} ({name})")
    print("next: python -m tests.lab status")


@app.command()
def status(
    json_output: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """What runs: instances, volumes, faults, load balancer targets."""
    from tests.lab.region.tables import print_status

    running = client()
    found = running.status()
    if json_output:
        print(json.dumps(found, indent=2))
    else:
        print_status(found, running.endpoint_url, running.state["balancer"])


@app.command(name="exec")
def execute(
    instance: InstanceName,
    command: Annotated[list[str], typer.Argument(help="Put -- in front of it.")],
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 300.0,
) -> None:
    """Run a command in a machine as root.

    Its output and exit code are this one's: exec nodes -- systemctl --failed
    """
    running = client()
    done = running.machine(running.instance(instance)["id"]).exec(*command, timeout=timeout)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    raise typer.Exit(done.returncode)


@app.command()
def ssh(instance: InstanceName) -> None:
    """A shell in a machine, as root."""
    from tests.lab.ssh import arguments

    command = arguments(client().instance(instance)["private_ip"], tty=True)
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def console(
    instance: InstanceName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows; end with Ctrl-C.")] = False,
) -> None:
    """Show a machine's console, also of one that is gone."""
    path = client().instance(instance)["console"]
    if not path:
        raise LabError(f"{instance} has not been switched on yet")
    with Path(path).open(errors="replace") as log:
        sys.stdout.write(log.read())
        while follow:
            sys.stdout.flush()
            time.sleep(0.2)
            sys.stdout.write(log.read())


@app.command()
def power_cut(
    instance: InstanceName,
    stay_off: Annotated[bool, typer.Option("--stay-off", help="Dead hardware: EC2 still calls it running.")] = False,
) -> None:
    """Pull a machine's plug.

    The page cache is lost. It boots again at once, unless --stay-off.
    """
    running = client()
    running.machine(running.instance(instance)["id"]).power_cut(stay_off=stay_off)


@app.command()
def power_on(instance: InstanceName) -> None:
    """Switch a machine on that was cut off to stay off."""
    running = client()
    running.machine(running.instance(instance)["id"]).power_on()


@app.command()
def reboot(instance: InstanceName) -> None:
    """RebootInstances: shut down in order, and boot."""
    running = client()
    running.aws("ec2").reboot_instances(InstanceIds=[running.instance(instance)["id"]])


@app.command()
def launch(
    group: Annotated[str, typer.Argument(help="Its Name; control-plane... and master... get that profile.")],
    user_data: Annotated[Path | None, typer.Option(help="File with cloud-init user data.")] = None,
    zone: Annotated[str, typer.Option(help="Default: the first.")] = "",
    profile: Annotated[str, typer.Option(help="control-plane or node.")] = "",
    instance_type: Annotated[str, typer.Option()] = "t3.medium",
) -> None:
    """RunInstances: one machine; prints its instance id."""
    text = user_data.read_text() if user_data else ""
    print(client().run_instance(group, user_data=text, zone=zone, profile=profile, instance_type=instance_type))


@app.command()
def terminate(instance: InstanceName) -> None:
    """TerminateInstances.

    The machine's root disk goes; volumes that were attached later stay.
    """
    running = client()
    running.terminate(running.instance(instance)["id"])


@app.command()
def attach(
    instance: InstanceName,
    volume: Annotated[str, typer.Argument(help="Volume id; left out: a new one.")] = "",
    size: Annotated[int, typer.Option(help="GiB of a new volume.")] = 1,
    device: Annotated[str, typer.Option()] = "/dev/xvdba",
) -> None:
    """AttachVolume; of a new, blank volume if none is named."""
    running = client()
    row, ec2 = running.instance(instance), running.aws("ec2")
    volume = volume or ec2.create_volume(Size=size, AvailabilityZone=row["zone"], VolumeType="gp3")["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=row["id"], Device=device)
    print(f"{volume} attaching to {row['id']} as {device}")


@app.command()
def detach(volume: Annotated[str, typer.Argument(help="Volume id.")]) -> None:
    """DetachVolume; busy while the guest has it mounted."""
    client().aws("ec2").detach_volume(VolumeId=volume)


@app.command()
def env() -> None:
    """Shell lines that point AWS tools at the lab.

    eval "$(python -m tests.lab env)"
    """
    for name, value in client().environment().items():
        print(f"export {name}='{value}'")


@app.command()
def outputs() -> None:
    """VPC, subnets, image, KMS key, profiles: JSON.

    What the region was provisioned with, in the shape of Terraform outputs.
    """
    print(json.dumps(client().outputs, indent=2))


@app.command()
def down() -> None:
    """Switch every machine off and end the region.

    Nothing to end is no error.
    """
    ended = lab.end(RUN_DIRECTORY)
    print(f"ended: {', '.join(f'{entry.name} ({entry.process.pid})' for entry in ended) or 'nothing was running'}")


@fault.command(name="api")
def fault_api(  # noqa: PLR0917 - typer's declarations
    code: Annotated[str, typer.Argument(help="AccessDenied, NoSuchBucket, SlowDown, RequestLimitExceeded, ...")] = "",
    service: Annotated[str, typer.Option(help="s3, ec2, sts, kms, ...")] = "",
    action: Annotated[str, typer.Option(help="GetObject, AttachVolume, ...; * matches")] = "",
    role: Annotated[str, typer.Option(help="Only callers with this role: control-plane, node.")] = "",
    instance: Annotated[str, typer.Option(help="Only this instance's calls (its id).")] = "",
    bucket: Annotated[str, typer.Option()] = "",
    prefix: Annotated[str, typer.Option(help='Only S3 keys in this folder, such as "secrets/".')] = "",
    delay: Annotated[float, typer.Option(help="Seconds to wait first; without a code that is all.")] = 0.0,
    times: Annotated[int, typer.Option(help="How many calls; 0: until cleared.")] = 0,
) -> None:
    """Spoil AWS calls: `fault api AccessDenied --role control-plane --prefix secrets/`"""
    fields = {name: value for name, value in locals().items() if value}
    print(f"fault {client().fault_api(**fields)} is on; end it: python -m tests.lab fault clear NUMBER")


@fault.command(name="imds")
def fault_imds(
    instance: InstanceName,
    absent: Annotated[str, typer.Option(help="hang or reset")] = "",
    late: Annotated[float, typer.Option(help="Seconds before each answer.")] = 0.0,
    credentials_404: Annotated[float, typer.Option(help="No role credentials for so many seconds.")] = 0.0,
    skew: Annotated[float, typer.Option(help="Seconds that AWS's clock is ahead of the instance's.")] = 0.0,
) -> None:
    """Spoil one instance's metadata service; without an option: all well again."""
    running = client()
    running.fault_imds(
        running.instance(instance)["id"], absent=absent, late=late, credentials_404=credentials_404, skew=skew
    )


@fault.command()
def stick(
    volume: Annotated[str, typer.Argument(help="Volume id.")],
    phase: Annotated[str, typer.Argument(help="attaching or detaching")] = "attaching",
) -> None:
    """Let an attachment hang in a phase until it is cleared."""
    client().stick_attachment(volume, phase)


@fault.command()
def balancer(
    listener: Annotated[str, typer.Argument(help="api or issuer")],
    how: Annotated[str, typer.Argument(help="reset (a closed port) or hang (a firewall)")] = "reset",
) -> None:
    """Let the load balancer's listener answer nobody."""
    client().block(listener, how)


@fault.command()
def clear(name: Annotated[str, typer.Argument(help="Number, instance, volume, listener; left out: all.")] = "") -> None:
    """End a fault, or all of them."""
    client().clear_fault(name)


def _baked() -> str:
    from tests.lab.image import bake

    return bake().id


@contextmanager
def _plain_errors() -> Iterator[None]:
    """For a person: the sentence, not the stack."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (LabError, ClientError, BotoCoreError, OSError, RuntimeError) as error:
        print(f"lab: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    with _plain_errors():
        app(prog_name="python -m tests.lab")
