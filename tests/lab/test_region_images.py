"""CreateImage in the lab: an image is what the machine's disk held, or it is none at all."""

from typing import Any

import pytest

from tests.lab.region.client import LabClient
from tests.lab.region.fixtures import World


def image_state(lab: LabClient, image: str) -> str:
    return str(lab.aws("ec2").describe_images(ImageIds=[image])["Images"][0]["State"])


def stopped(strict: World) -> str:
    instance = strict.instance()
    strict.aws("ec2").stop_instances(InstanceIds=[instance])
    strict.wait(lambda: strict.instance_state(instance) == "stopped")
    return instance


def create(lab: LabClient, instance: str, **more: Any) -> str:
    return str(lab.aws("ec2").create_image(InstanceId=instance, Name=f"of-{instance}", **more)["ImageId"])


def test_an_image_of_a_stopped_instance_holds_its_disk_and_boots(strict: World, lab: LabClient) -> None:
    image = create(lab, stopped(strict))
    strict.wait(lambda: image_state(lab, image) == "available")
    assert "this is no disk" in lab.run.image(image).read_text()
    made = strict.instance(ImageId=image)
    assert str(lab.run.image(image)) in (lab.run.machine(made) / "diary.jsonl").read_text()


def test_a_machine_that_is_on_is_off_while_its_disk_is_copied(strict: World, lab: LabClient) -> None:
    instance = strict.instance()
    image = create(lab, instance)
    strict.wait(lambda: image_state(lab, image) == "available")
    strict.wait(lambda: bool(lab.instance(instance)["powered"]))
    diary = (lab.run.machine(instance) / "diary.jsonl").read_text()
    events = [line.split('"')[3] for line in diary.splitlines()]
    assert events == ["launch", "start", "shutdown", "copy-disk", "start"]
    assert strict.instance_state(instance) == "running"


def test_a_disk_that_cannot_be_read_makes_a_failed_image_and_no_file(strict: World, lab: LabClient) -> None:
    instance = stopped(strict)
    (lab.run.machine(instance) / "disk-unreadable").touch()
    image = create(lab, instance)
    strict.wait(lambda: image_state(lab, image) == "failed")
    assert [path.name for path in lab.run.image(image).parent.glob(f"{image}*")] == []


def test_a_deregistered_image_is_gone_with_its_disk(strict: World, lab: LabClient) -> None:
    image = create(lab, stopped(strict))
    strict.wait(lambda: image_state(lab, image) == "available")
    lab.aws("ec2").deregister_image(ImageId=image)
    assert not lab.run.image(image).exists()


def test_no_image_of_a_terminated_instance(strict: World, lab: LabClient) -> None:
    instance = strict.instance()
    lab.terminate(instance)
    strict.wait(lambda: strict.instance_state(instance) == "terminated")
    with pytest.raises(lab.aws("ec2").exceptions.ClientError, match="IncorrectState"):
        create(lab, instance)
