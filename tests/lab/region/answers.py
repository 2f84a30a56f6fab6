"""The calls that the lab answers itself, because moto answers them wrongly or not at all."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.lab.region.calls import Call
from tests.lab.region.directory import Directory
from tests.lab.region.ec2 import StrictEC2Backend
from tests.lab.region.gateway import Answer, AnswerCall
from tests.lab.region.kms import Signing
from tests.lab.region.principals import AssumedKeys, Keyring, Principal
from tests.lab.region.refusals import Refusal
from tests.lab.region.sts import AssumeRole, get_caller_identity

EC2_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


def own_answers(
    backend: StrictEC2Backend, kms: Any, keyring: Keyring, directory: Directory
) -> Mapping[tuple[str, str], AnswerCall]:
    signing = Signing(kms)
    return {
        ("sts", "GetCallerIdentity"): get_caller_identity,
        ("sts", "AssumeRole"): AssumeRole(AssumedKeys(keyring), directory.role_ids),
        ("kms", "Sign"): signing.sign,
        ("kms", "Verify"): signing.verify,
        ("ec2", "GetConsoleOutput"): ConsoleOutput(backend),
    }


class ConsoleOutput:
    """The machine's real console, its last 64 KiB, where moto has one canned text."""

    def __init__(self, backend: StrictEC2Backend) -> None:
        self._backend = backend

    def __call__(self, call: Call, principal: Principal) -> Answer:
        instance_id = call.form.get("InstanceId", "")
        if self._backend.get_instance_by_id(instance_id) is None:
            raise Refusal("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        text = base64.b64encode(self._backend.wiring.fleet.console_tail(instance_id)).decode()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        body = (
            f'<GetConsoleOutputResponse xmlns="{EC2_NAMESPACE}"><requestId>{uuid4()}</requestId>'
            f"<instanceId>{instance_id}</instanceId><timestamp>{now}</timestamp><output>{text}</output>"
            "</GetConsoleOutputResponse>"
        )
        return Answer(body.encode())
