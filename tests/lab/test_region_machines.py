"""The API moves the machines: what RunInstances, StopInstances, auto scaling and the rest do to the double's diary."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import trustme

from tests.lab.region.balancer import State, render_config
from tests.lab.region.client import LabClient, LabError
from tests.lab.region.double import REFUSED
from tests.lab.region.fixtures import World
from tests.lab.test_region import refusal


def diary(lab: LabClient, instance: str) -> list[str]:
    """What has happened to the machine double, in order."""
    lines = (lab.run.machine(instance) / "diary.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_launch_hands_over_what_ec2_says(lab: LabClient, strict: World) -> None:
    instance = strict.instance("eu-west-1c")
    first = json.loads((lab.run.machine(instance) / "diary.jsonl").read_text().splitlines()[0])
    said = lab.aws("ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert first["private_ip"] == said["PrivateIpAddress"]
    assert first["mac"] == said["NetworkInterfaces"][0]["MacAddress"]
    assert first["zone"] == "eu-west-1c"
    assert diary(lab, instance) == ["launch", "start"]


def test_a_launch_that_fails_is_a_terminated_instance(lab: LabClient) -> None:
    instance = lab.run_instance(instance_type=REFUSED)
    lab.wait_for_state(instance, "terminated")
    assert lab.instance(instance)["reason"] == "Server.InternalError"
    with pytest.raises(LabError, match=f"{REFUSED} does not start"):
        lab.wait_for_state(instance, "running")


def test_stop_and_start_keep_the_machine_and_its_volumes(lab: LabClient, strict: World) -> None:
    instance, volume, ec2 = strict.instance(), strict.volume(), strict.aws("ec2")
    strict.attached(volume, instance)
    ec2.stop_instances(InstanceIds=[instance])
    lab.wait_for_state(instance, "stopped")
    assert strict.attachment(volume) == "attached"
    ec2.start_instances(InstanceIds=[instance])
    lab.wait_for_state(instance, "running")
    assert diary(lab, instance) == ["launch", "start", "attach", "shutdown", "attach", "start"]


def test_reboot_is_in_order_and_the_instance_stays_running(lab: LabClient, strict: World) -> None:
    instance = strict.instance()
    strict.aws("ec2").reboot_instances(InstanceIds=[instance])
    lab.wait_until("rebooted", lambda: diary(lab, instance)[2:] == ["shutdown", "start"])
    assert lab.instance(instance)["state"] == "running"


def test_terminate_cuts_the_power_and_scraps_the_disks(lab: LabClient, strict: World) -> None:
    instance = strict.instance()
    root = lab.run.machine(instance) / "root.cow"
    root.touch()
    lab.terminate(instance)
    lab.wait_for_state(instance, "terminated")
    assert diary(lab, instance) == ["launch", "start", "power-cut"]
    assert not root.exists()
    assert instance in lab.aws("ec2").get_console_output(InstanceId=instance)["Output"]


def test_a_power_cut_boots_again_and_a_dark_machine_holds_its_volumes(lab: LabClient, strict: World) -> None:
    instance, volume, rival = strict.instance(), strict.volume(), strict.instance()
    strict.attached(volume, instance)
    lab.machine(instance).power_cut()
    assert diary(lab, instance)[-2:] == ["power-cut", "start"]
    lab.machine(instance).power_cut(stay_off=True)
    assert lab.instance(instance)["powered"] is False
    strict.aws("ec2").detach_volume(VolumeId=volume)
    strict.wait(lambda: strict.attachment(volume) == "busy")
    assert lab.instance(instance)["state"] == "running"
    assert refusal(lambda: strict.attach(volume, rival))[0] == "VolumeInUse"
    strict.aws("ec2").detach_volume(VolumeId=volume, Force=True)
    strict.wait(lambda: strict.attachment(volume) == "none")


def test_a_guest_that_holds_its_disk_keeps_the_volume_busy(lab: LabClient, strict: World) -> None:
    instance, volume = strict.instance(), strict.volume()
    strict.attached(volume, instance)
    mounted = lab.run.machine(instance) / f"busy-{volume}"
    mounted.touch()
    strict.aws("ec2").detach_volume(VolumeId=volume)
    strict.wait(lambda: strict.attachment(volume) == "busy")
    mounted.unlink()
    strict.wait(lambda: strict.attachment(volume) == "none")


def test_a_guest_that_powers_off_stops_its_instance(lab: LabClient, strict: World) -> None:
    instance = strict.instance()
    (lab.run.machine(instance) / "power").unlink()
    lab.wait_for_state(instance, "stopped")
    assert lab.instance(instance)["reason"] == "Client.InstanceInitiatedShutdown"


def test_launch_volumes_are_there_at_power_on_and_go_with_the_instance_unless_kept(
    lab: LabClient, strict: World
) -> None:
    def launched(**ebs: Any) -> tuple[str, str]:
        mapping = [{"DeviceName": "/dev/xvdb", "Ebs": {"VolumeSize": 1, **ebs}}]
        instance = strict.instance(BlockDeviceMappings=mapping)
        assert diary(lab, instance) == ["launch", "attach", "start"]
        rows = lab.status()["volumes"]
        return instance, next(r["id"] for r in rows if r["instance"] == instance and r["size_gib"] == 1)

    going, gone = launched()
    staying, kept = launched(DeleteOnTermination=False)
    assert lab.run.volume(gone).stat().st_size == 1 << 30
    lab.terminate(going, staying)
    states = lambda: {row["id"]: row["state"] for row in lab.status()["volumes"]}  # noqa: E731 - one read
    lab.wait_until("released", lambda: gone not in states() and states()[kept] == "available")
    assert not lab.run.volume(gone).exists()
    assert lab.run.volume(kept).exists()


def test_auto_scaling_launches_replaces_and_scales_in(lab: LabClient) -> None:
    ec2, scaling = lab.aws("ec2"), lab.aws("autoscaling")
    template = ec2.create_launch_template(
        LaunchTemplateName="workers",
        LaunchTemplateData={
            "ImageId": lab.outputs["image_id"],
            "InstanceType": "t3.small",
            "UserData": "I2hp",
            "IamInstanceProfile": {"Name": "node"},
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        },
    )["LaunchTemplate"]["LaunchTemplateId"]
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="workers",
        MinSize=0,
        MaxSize=3,
        DesiredCapacity=2,
        LaunchTemplate={"LaunchTemplateId": template},
        VPCZoneIdentifier=lab.outputs["private_subnet_ids"]["eu-west-1b"],
        Tags=[{"Key": "Name", "Value": "scaled", "PropagateAtLaunch": True}],
    )

    def powered() -> set[str]:
        rows = lab.status()["instances"]
        return {row["id"] for row in rows if row["tags"].get("Name") == "scaled" and row["powered"]}

    lab.wait_until("two workers", lambda: len(powered()) == 2)
    gone = min(powered())
    (reservation,) = ec2.describe_instances(InstanceIds=[gone])["Reservations"]
    described = reservation["Instances"][0]
    assert described["IamInstanceProfile"]["Arn"] == lab.outputs["instance_profiles"]["node"]
    assert described["PrivateDnsName"].endswith(".eu-west-1.compute.internal")
    assert described["MetadataOptions"]["HttpTokens"] == "required"
    assert described["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    lab.terminate(gone)
    lab.wait_until("replaced", lambda: len(powered()) == 2 and gone not in powered())
    scaling.set_desired_capacity(AutoScalingGroupName="workers", DesiredCapacity=0)
    lab.wait_until("none left", lambda: not powered())


def test_a_replaced_instance_profile_is_the_one_that_ec2_describes(lab: LabClient, strict: World) -> None:
    ec2 = lab.aws("ec2")
    instance = strict.instance(IamInstanceProfile={"Name": "node"})
    mine = [{"Name": "instance-id", "Values": [instance]}]
    (association,) = ec2.describe_iam_instance_profile_associations(Filters=mine)["IamInstanceProfileAssociations"]
    ec2.replace_iam_instance_profile_association(
        AssociationId=association["AssociationId"], IamInstanceProfile={"Name": "control-plane"}
    )
    described = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert described["IamInstanceProfile"]["Arn"] == lab.outputs["instance_profiles"]["control-plane"]


def test_commands_run_in_the_machine_and_errors_say_why(lab: LabClient, strict: World) -> None:
    instance = strict.instance()
    assert "['uname', '-a']" in lab.machine(instance).exec("uname", "-a").stdout
    with pytest.raises(LabError, match="no machine"):
        lab.machine("i-00000000000000000").exec("true")


def test_nobody_controls_the_lab_without_its_token(lab: LabClient) -> None:
    import requests

    answer = requests.post(f"{lab.state['control_url']}/stop", json={}, timeout=5)
    assert answer.status_code == 403
    assert lab.status()
    assert lab.run.state.stat().st_mode & 0o777 == 0o600


# --- the load balancer -----------------------------------------------------------------------------------


@pytest.fixture
def api_server(lab: LabClient) -> Iterator[Callable[[str, int], None]]:
    """An API server double on an instance's address, port 6443, that answers /readyz with a status."""
    authority = trustme.CA()
    servers = []

    def serve(address: str, status: int) -> None:
        class Double(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(address.encode())

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer((address, 6443), Double)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("kubernetes").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_balancer_finds_healthy_control_planes_and_leaves_the_rest(
    lab: LabClient, api_server: Callable[[str, int], None]
) -> None:
    """401 is healthy (nobody is let in anonymously), 500 is not, and nodes are no targets at all."""
    groups = {"control-plane-a": 401, "control-plane-b": 500, "nodes": 200}
    addresses = {}
    for group, status in groups.items():
        instance = lab.run_instance(group)
        lab.wait_for_state(instance, "running")
        addresses[group] = lab.instance(instance)["private_ip"]
        api_server(addresses[group], status)
    healthy = {addresses["control-plane-a"]}
    lab.wait_until("only the healthy one answers", lambda: {_behind(lab) for _ in range(6)} == healthy)
    assert addresses["nodes"] not in lab.status()["balancer"]


def test_the_balancer_sends_to_the_issuer_where_the_api_server_is_healthy_until_that_is_blocked(
    lab: LabClient, api_server: Callable[[str, int], None]
) -> None:
    instance = lab.run_instance("control-plane-c")
    lab.wait_for_state(instance, "running")
    address = lab.instance(instance)["private_ip"]
    host, port = lab.state["issuer"].split(":")

    def answers() -> bool:
        try:
            with socket.create_connection((host, int(port)), timeout=2) as connection:
                return connection.recv(16) == b"issuer"
        except OSError:
            return False

    with socket.create_server((address, 3988)) as issuer:
        served = Thread(target=_greet, args=(issuer,), daemon=True)
        served.start()
        api_server(address, 200)
        lab.wait_until("the issuer answers through the load balancer", answers)
        lab.block("issuer", "hang")
        lab.wait_until("nothing comes through any more", lambda: not answers())
        lab.block("issuer", "reset")
        lab.wait_until("the port is closed", lambda: not _listens(host, int(port)))
        lab.clear_fault("issuer")
        lab.wait_until("the issuer answers again", answers)


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def _greet(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # closed: the test is over
            return
        with connection:
            connection.sendall(b"issuer")


def _behind(lab: LabClient) -> str:
    """Who answers behind the load balancer, "" for nobody."""
    host, port = lab.state["balancer"].split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(socket.create_connection((host, int(port)), timeout=2)) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            return connection.makefile("rb").read().rpartition(b"\r\n")[2].decode()
    except OSError:
        return ""


def test_the_balancers_configuration_is_plain_to_read() -> None:
    ports = {"api": 6443, "issuer": 3988}
    text = render_config("10.99.0.2", ports, State(("10.99.1.4", "10.99.2.4")))
    assert "bind 10.99.0.2:6443" in text
    assert text.count("    server ") == 4
    assert "    server 10.99.1.4 10.99.1.4:6443\n" in text
    # The issuer's health is the API server's: a check of its own would start it every second.
    assert "    server 10.99.1.4 10.99.1.4:3988 track api-targets/10.99.1.4\n" in text
    assert text.count("httpchk") == 1
    assert "bind 10.99.0.2:3988" not in render_config("10.99.0.2", ports, State(blocked={"issuer": "reset"}))
