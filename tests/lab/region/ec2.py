"""moto's EC2 with instance and attachment states that take time, exclude each other, and move real machines."""

import logging
from collections.abc import Iterable
from typing import Any, ClassVar

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import InstanceState, StateReason

from tests.lab.region.attach_rules import check_attach, check_detach
from tests.lab.region.attaching import Attachments
from tests.lab.region.calls import CURRENT_CALL
from tests.lab.region.launches import check_launch, complete_launch, profile_of_template
from tests.lab.region.machines import MACHINE_ERRORS, Instance
from tests.lab.region.wiring import Wiring

LOG = logging.getLogger(__name__)
CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
GONE = ("shutting-down", "terminated")


class StrictEC2Backend(EC2Backend):
    """`wiring` is set before moto makes the backend."""

    wiring: ClassVar[Wiring]

    def __init__(self, region_name: str, account_id: str) -> None:
        self._attachments = Attachments(self.wiring, self.delete_volume)
        self._launching = False
        self._tokens: dict[str, Any] = {}
        super().__init__(region_name, account_id)

    @property
    def _url_module(self) -> Any:
        from moto.ec2 import urls  # moto derives it from the class's module, which is ours

        return urls

    def name_image(self, registered: str) -> str:
        """Give a registered image the id of the baked one; that is what machines look their disk up by."""
        image = self.amis.pop(registered)
        image.id = self.wiring.settings.image_id
        self.amis[image.id] = image
        return str(image.id)

    # --- instances ---------------------------------------------------------------------------------------

    def run_instances(self, *args: Any, **kwargs: Any) -> Any:
        """The same ClientToken gives the same instances (botocore sends one, and retries with it)."""
        call = CURRENT_CALL.get()
        form = call.form if call and call.action == "RunInstances" else {}
        token = form.get("ClientToken", "")
        source = kwargs.get("launch_template")
        template = self._get_template_from_args(source).data if source else {}
        kwargs["region_name"] = self.region_name  # auto scaling leaves it out: moto would name them .ec2.internal
        check_launch(kwargs, args[2] if len(args) > 2 else kwargs.get("user_data"), template)
        complete_launch(kwargs, form, template)
        profile = profile_of_template(kwargs, template)
        with self.wiring.gate:
            if token in self._tokens:
                return self._tokens[token]
            self._launching = True
            try:
                reservation = super().run_instances(*args, **kwargs)
            finally:
                self._launching = False
            if token:
                self._tokens[token] = reservation
            for instance in reservation.instances:
                if profile:
                    self.associate_iam_instance_profile(instance_id=instance.id, **profile)
                _set_state(instance, "pending")
                self._later("launch", f"bring up {instance.id}", self._bring_up, instance)
        return reservation

    def terminate_instances(self, instance_ids: list[str]) -> list[tuple[Any, InstanceState]]:
        with self.wiring.gate:
            instances = self._known(instance_ids)
            for instance in instances:
                if instance.disable_api_termination is True:
                    raise EC2ClientError(
                        "OperationNotPermitted",
                        f"The instance '{instance.id}' may not be terminated. Modify its "
                        "'disableApiTermination' instance attribute and try again.",
                    )
            return [(instance, self._terminate(instance)) for instance in instances]

    def stop_instances(self, instance_ids: list[str]) -> list[tuple[Any, InstanceState]]:
        with self.wiring.gate:
            instances = self._known(instance_ids)
            _require(instances, ("pending", "running", "stopping", "stopped"), "stopped")
            changes = [(instance, _copy_state(instance)) for instance in instances]
            for instance, previous in changes:
                if previous.name in ("pending", "running"):
                    _set_state(instance, "stopping")
                    self._soon(f"stop {instance.id}", self._stop, instance)
            return changes

    def start_instances(self, instance_ids: list[str]) -> list[tuple[Any, InstanceState]]:
        with self.wiring.gate:
            instances = self._known(instance_ids)
            _require(instances, ("pending", "running", "stopped"), "started")
            changes = [(instance, _copy_state(instance)) for instance in instances]
            for instance, previous in changes:
                if previous.name == "stopped":
                    _set_state(instance, "pending")
                    self._later("launch", f"start {instance.id}", self._bring_up, instance)
            return changes

    def reboot_instances(self, instance_ids: list[str]) -> list[Any]:
        with self.wiring.gate:
            instances = self._known(instance_ids)
            _require(instances, ("running",), "rebooted")
            for instance in instances:
                self._soon(f"reboot {instance.id}", self._reboot, instance)
            return instances

    def notice_machines_that_died(self) -> None:
        """A guest that powered itself off: its instance stops, or terminates when launched so."""
        with self.wiring.gate:
            for instance in self.all_instances():
                fleet = self.wiring.fleet
                if instance.state != "running" or fleet.is_alive(instance.id) or fleet.is_dark(instance.id):
                    continue
                LOG.warning("%s has powered off", instance.id)
                if instance.instance_initiated_shutdown_behavior == "terminate":
                    self._terminate(instance)
                else:
                    _set_state(instance, "stopped", "Client.InstanceInitiatedShutdown")

    def replace_iam_instance_profile_association(self, *args: Any, **kwargs: Any) -> Any:
        """moto goes on describing the instance with the profile before."""
        association = super().replace_iam_instance_profile_association(*args, **kwargs)
        profile = {"Arn": association.iam_instance_profile.arn, "Id": association.association_id}
        self.modify_instance_attribute(association.instance.id, "iam_instance_profile", profile)
        return association

    # --- images ------------------------------------------------------------------------------------------

    def register_image(self, *args: Any, **kwargs: Any) -> Any:
        """moto forgets what it was told of these two, which Packer reads."""
        image = super().register_image(*args, **kwargs)
        image.virtualization_type, image.root_device_type = "hvm", "ebs"
        return image

    def create_image(self, instance_id: str, *args: Any, **kwargs: Any) -> Any:
        """moto's image has no content; this one has the machine's disk, and is pending until that is copied."""
        with self.wiring.gate:
            instance = self.get_instance(instance_id)
            if instance.state not in ("running", "stopped"):
                raise EC2ClientError("IncorrectState", f"The instance '{instance_id}' is not 'running' or 'stopped'.")
            image = super().create_image(instance_id, *args, **kwargs)
            image.state, image.root_device_type = "pending", "ebs"
            self._soon(f"image {image.id} of {instance_id}", self._take_image, image, instance_id)
            return image

    def deregister_image(self, ami_id: str) -> None:
        with self.wiring.gate:
            super().deregister_image(ami_id)
            self.wiring.run.image(ami_id).unlink(missing_ok=True)

    def _take_image(self, image: Any, instance_id: str) -> None:
        try:
            self.wiring.fleet.copy_disk(instance_id, self.wiring.run.image(image.id))
            image.state = "available"
        except MACHINE_ERRORS:
            LOG.exception("no image of %s", instance_id)
            image.state = "failed"

    # --- volumes -----------------------------------------------------------------------------------------

    def attach_volume(
        self, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
    ) -> Any:
        with self.wiring.gate:
            if self._launching:
                return super().attach_volume(volume_id, instance_id, device_path, delete_on_termination)
            volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
            check_attach(volume, instance, device_path, self.wiring.settings.volume_limit)
            attachment = super().attach_volume(volume_id, instance_id, device_path, delete_on_termination)
            self._attachments.attach(attachment)
            return attachment

    def detach_volume(self, volume_id: str, instance_id: str, device_path: str) -> Any:
        call = CURRENT_CALL.get()
        force = bool(call and call.form.get("Force", "").lower() == "true")
        with self.wiring.gate:
            volume: Any = self.get_volume(volume_id)
            if instance_id:
                self.get_instance(instance_id)
            check_detach(volume, instance_id, device_path)
            attachment = volume.attachment
            if attachment.status not in ("detaching", "busy") or force:
                self._attachments.detach(attachment, force=force)
            return attachment

    def delete_volume(self, volume_id: str) -> Any:
        with self.wiring.gate:
            volume = super().delete_volume(volume_id)
            self.wiring.fleet.delete_volume(volume_id)
            return volume

    # --- steps that happen later -------------------------------------------------------------------------

    def _bring_up(self, instance: Any) -> None:
        try:
            self.wiring.fleet.switch_on(self._machine(instance), self._data_volumes(instance))
        except MACHINE_ERRORS as error:
            LOG.exception("launch of %s failed", instance.id)
            with self.wiring.gate:
                self._terminate(instance, "Server.InternalError", f"the lab could not launch it: {error}")
            return
        with self.wiring.gate:
            if instance.state == "pending":
                _set_state(instance, "running")

    def _data_volumes(self, instance: Any) -> dict[str, int]:
        """The root disk is the machine's own copy of the image."""
        return {
            volume.id: volume.size
            for volume in self._volumes_of(instance)
            if volume.attachment.device != instance.root_device_name and volume.attachment.status == "attached"
        }

    def _stop(self, instance: Any) -> None:
        self.wiring.fleet.shutdown(instance.id)
        with self.wiring.gate:
            if instance.state == "stopping":
                _set_state(instance, "stopped", "Client.UserInitiatedShutdown")

    def _reboot(self, instance: Any) -> None:
        self.wiring.fleet.restart(instance.id, graceful=True)

    def _terminate(
        self, instance: Any, reason: str = "Client.UserInitiatedShutdown", message: str = ""
    ) -> InstanceState:
        previous = _copy_state(instance)
        if previous.name not in GONE:
            _set_state(instance, "shutting-down", reason, message)
            self._soon(f"scrap {instance.id}", self._scrap, instance)
        return previous

    def _scrap(self, instance: Any) -> None:
        self.wiring.fleet.scrap(instance.id)
        self._later("terminate", f"terminate {instance.id}", self._bury, instance)

    def _bury(self, instance: Any) -> None:
        with self.wiring.gate:
            _set_state(instance, "terminated", instance.state_reason.code, instance.state_reason.message)
            association = self.iam_instance_profile_associations.get(instance.id)
            if association:
                self.disassociate_iam_instance_profile(association_id=association.association_id)
            self._attachments.release(instance, lambda: self._volumes_of(instance))

    # --- small things ------------------------------------------------------------------------------------

    def _machine(self, instance: Any) -> Instance:
        settings = self.wiring.settings
        memory = INSTANCE_TYPES[instance.instance_type]["MemoryInfo"]["SizeInMiB"]
        return Instance(
            id=instance.id,
            image_id=instance.image_id,
            instance_type=instance.instance_type,
            memory_mib=min(memory, settings.memory_limit_mib),
            zone=instance.availability_zone,
            private_ip=instance.private_ip,
            prefix_length=settings.network.prefix_length,
            gateway=settings.network.api_host,
            mac=instance.nics[0].mac_address,
            hostname=instance.private_dns_name,
            directory=self.wiring.run.machine(instance.id),
            image_disk=disk if (disk := self.wiring.run.image(instance.image_id)).exists() else None,
        )

    def _volumes_of(self, instance: Any) -> list[Any]:
        return [v for v in list(self.volumes.values()) if v.attachment and v.attachment.instance is instance]

    def _known(self, instance_ids: Iterable[str]) -> list[Any]:
        return list(self.get_multi_instances_by_id(list(instance_ids)))

    def _soon(self, name: str, step: Any, *arguments: Any) -> None:
        self.wiring.timeline.after(0, name, lambda: step(*arguments))

    def _later(self, delay: str, name: str, step: Any, *arguments: Any) -> None:
        seconds = getattr(self.wiring.settings.delays, delay)
        self.wiring.timeline.after(seconds, name, lambda: step(*arguments))


def _set_state(instance: Any, name: str, reason: str = "", message: str = "") -> None:
    instance._state = InstanceState(name, CODES[name])
    instance.state_reason = StateReason(message=message or reason, code=reason)


def _copy_state(instance: Any) -> InstanceState:
    return InstanceState(instance.state, instance.state_code)


def _require(instances: Iterable[Any], states: tuple[str, ...], verb: str) -> None:
    for instance in instances:
        if instance.state not in states:
            raise EC2ClientError(
                "IncorrectInstanceState",
                f"The instance '{instance.id}' is not in a state from which it can be {verb}.",
            )
