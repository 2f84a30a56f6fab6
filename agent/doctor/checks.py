"""The checks in the order of causes: whatever fails first explains what fails after it.

Ports come before the programs that want them, the issuer before the certificates that it renews, etcd before the API
server that reads it, kubelet before the pods that it starts. What the agent said last comes last: it is the symptom.
"""

from collections.abc import Sequence

from agent.doctor.case import Case, open_case
from agent.doctor.certificates import certificates
from agent.doctor.endpoints import api_endpoint, dns, ec2, issuer, kms, sts
from agent.doctor.etcd import etcd, volumes
from agent.doctor.examination import LIMIT, Check, examine
from agent.doctor.finding import Examined
from agent.doctor.identity import clock, credentials, enrolled, imds
from agent.doctor.machine import cgroup, disk, kernel, ports
from agent.doctor.patient import Patient
from agent.doctor.runs import generations, last_run
from agent.doctor.services import api_server, containerd, kubelet, units
from agent.doctor.store import store, trust, trust_state

CHECKS: Sequence[Check[Case]] = (
    Check("clock", clock),
    Check("imds", imds),
    Check("credentials", credentials, needs=("imds",)),
    Check("enrolment", enrolled, after=("imds",)),
    Check("dns", dns, after=("enrolment",), seconds=5.0),
    Check("s3", store, needs=("credentials", "enrolment"), after=("dns",)),
    Check("sts", sts, after=("dns",)),
    Check("kms", kms, after=("dns",)),
    Check("ec2", ec2, after=("dns",)),
    Check("trust", trust, needs=("s3",), after=("clock",), seconds=8.0),
    Check("trust-state", trust_state),
    Check("disk", disk),
    Check("cgroup", cgroup),
    Check("kernel", kernel),
    Check("ports", ports),
    Check("api-endpoint", api_endpoint, after=("dns", "trust")),
    Check("issuer", issuer, after=("dns", "trust")),
    Check("certificates", certificates),
    Check("containerd", containerd),
    Check("volumes", volumes, after=("credentials", "ec2", "trust"), seconds=8.0),
    Check("etcd", etcd, needs=("volumes",)),
    Check("kubelet", kubelet),
    Check("api-server", api_server, after=("etcd",)),
    Check("units", units),
    Check("generations", generations),
    Check("last-run", last_run),
)


def diagnose(patient: Patient, *, limit: float = LIMIT) -> tuple[Examined, ...]:
    """Every check in order, within `limit` seconds even if everything hangs. Changes nothing on the machine."""
    return examine(open_case(patient), CHECKS, limit=limit)
