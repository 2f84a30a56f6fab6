"""Every address outside that a node needs, and whether TCP and TLS get there. Nothing is asked of the services."""

import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.aws.s3 import Bucket
from agent.doctor.case import Case
from agent.doctor.finding import Finding, fail, ok, skipped, warn, worst
from agent.issuer.https import client_context
from agent.settings import Settings

_SECONDS = 3.0
_ROUTE = "check the route: a VPC endpoint or NAT for this subnet, its security group, network ACLs"


@dataclass(frozen=True, slots=True)
class Endpoint:
    name: str
    url: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.url).scheme == "https"


def s3_url(settings: Settings, region: str) -> str:
    parts = urlsplit(Bucket(settings.bucket, settings.region or region, settings.endpoint).url("any"))
    return f"{parts.scheme}://{parts.netloc}"


def aws_endpoints(case: Case) -> tuple[Endpoint, ...]:
    """As the agent's own clients form them. Empty before enrolment."""
    settings, region = case.settings, case.region
    if settings is None or not region:
        return ()
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"

    def url(service: str) -> str:
        return settings.endpoint or f"https://{service}.{region}.{suffix}"

    sts = case.manifest.identity.sts_endpoint if case.manifest else url("sts")
    found = [Endpoint("S3", s3_url(settings, region)), Endpoint("STS", sts)]
    if case.role != "node":  # a worker opens no envelope and attaches no volume
        found += [Endpoint("KMS", url("kms")), Endpoint("EC2", url("ec2"))]
    return tuple(found)


def cluster_endpoints(case: Case) -> tuple[Endpoint, ...]:
    """The API server's and the issuer's, as the manifest names them."""
    manifest = case.manifest
    if manifest is None:
        return ()
    host = f"[{manifest.api.endpoint}]" if ":" in manifest.api.endpoint else manifest.api.endpoint
    return (
        Endpoint("API", f"https://{host}:{manifest.api.port}"),
        Endpoint("issuer", f"https://{host}:{manifest.identity.port}"),
    )


def dns(case: Case) -> Finding:
    """Each name once. What does not resolve is remembered, so that later checks need not wait for it again."""
    endpoints = (*aws_endpoints(case), *cluster_endpoints(case))
    if not endpoints:
        return skipped("no endpoint is known before this machine is enrolled")
    found = []
    for host in dict.fromkeys(endpoint.host for endpoint in endpoints):
        names = "/".join(endpoint.name for endpoint in endpoints if endpoint.host == host)
        try:
            addresses = case.patient.resolve(host)
        except (OSError, UnicodeError) as error:
            case.learned.unresolved[host] = str(error)
            found.append(
                fail(
                    f"{host} ({names}) does not resolve: {error}",
                    "cat /etc/resolv.conf; `getent hosts` the name; the VPC needs enableDnsSupport, and a private zone "
                    "must be associated with it",
                    "dns-not-resolved",
                )
            )
        else:
            found.append(ok(f"{host} {addresses[0] if addresses else ''}".rstrip()))
    return worst(found)


def sts(case: Case) -> Finding:
    return _aws(case, "STS")


def kms(case: Case) -> Finding:
    if case.role != "node" and case.manifest and case.manifest.trust.secrets_key.startswith("local:"):
        return skipped("this cluster's secrets are sealed under a local key")
    return _aws(case, "KMS")


def ec2(case: Case) -> Finding:
    return _aws(case, "EC2")


def _aws(case: Case, name: str) -> Finding:
    endpoint = next((one for one in aws_endpoints(case) if one.name == name), None)
    if endpoint is None:
        return skipped("a worker does not use it" if case.settings else "not enrolled yet")
    finding = reach(case, endpoint, ssl.create_default_context() if endpoint.is_tls else None)
    if finding.state == "fail" and not case.role:
        return warn(finding.found, f"only a control-plane node needs it; {finding.fix}", finding.code)
    return finding


def api_endpoint(case: Case) -> Finding:
    """A control-plane node uses its own API server: for it this is what others need, and never the cause."""
    found = _cluster(case, "API", "check the load balancer: its listener, healthy targets, and the security groups")
    return warn(found.found, found.fix, found.code) if found.state == "fail" and case.role != "node" else found


def issuer(case: Case) -> Finding:
    """Reachable; and what it answered this machine last, which only the agent's own request can find out."""
    if case.role == "control-plane":
        return skipped("a control-plane node signs its own certificates")
    fix = "check that api.endpoint forwards this port to the control plane, and bootwright-issuer.socket there"
    reached = _cluster(case, "issuer", fix)
    refusal = _last_refusal(case)
    return reached if reached.state == "fail" or refusal is None else refusal


def _last_refusal(case: Case) -> Finding | None:
    from agent.issuer.codes import REMEDIES

    known = {*REMEDIES, "issuer-refused", "issuer-unexpected", "issuer-not-trusted"}
    for condition in case.status.conditions if case.status else ():
        if condition.code in known:
            return fail(f"the issuer refuses this machine: {condition.message}", condition.remedy, condition.code)
    return None


def _cluster(case: Case, name: str, fix: str) -> Finding:
    endpoint = next((one for one in cluster_endpoints(case) if one.name == name), None)
    if endpoint is None or case.manifest is None:
        return skipped("no manifest is known yet")
    bundle = case.manifest.trust.authority("kubernetes").bundle
    return reach(case, endpoint, client_context(bundle), fix=fix)


def reach(case: Case, endpoint: Endpoint, tls: ssl.SSLContext | None, *, fix: str = _ROUTE) -> Finding:
    """TCP, then TLS with the name and the authority checked; which of both it was is what people need to know."""
    where, prefix = f"{endpoint.host}:{endpoint.port}", endpoint.name.lower()
    if endpoint.host in case.learned.unresolved:
        return fail(f"{endpoint.host} does not resolve", "see the check `dns`", "dns-not-resolved")
    try:
        connection = socket.create_connection((endpoint.host, endpoint.port), timeout=_SECONDS)
    except OSError as error:
        why = "no answer within 3 s: dropped on the way" if isinstance(error, TimeoutError) else _words(error)
        return fail(f"{endpoint.name} at {where}: {why}", fix, f"{prefix}-unreachable")
    with connection:
        if tls is None:
            return ok(f"{where} answers")
        try:
            with tls.wrap_socket(connection, server_hostname=endpoint.host) as secured:
                return ok(f"{where} answers, {secured.version()}, certificate as it should be")
        except ssl.SSLCertVerificationError as error:
            return fail(
                f"{endpoint.name} at {where} shows a certificate that is not trusted: {error.verify_message}",
                "another CA: something else answers there, or this node's manifest is from before a rotation "
                "(agent sync); also check the clock",
                f"{prefix}-not-trusted",
            )
        except OSError as error:
            return fail(f"{endpoint.name} at {where} ends the TLS handshake: {_words(error)}", fix, f"{prefix}-no-tls")


def _words(error: OSError) -> str:
    return error.strerror or str(error)
