"""kube-apiserver as a static pod, hardened as etcd-pki.md 4.4 proved on 1.36."""

from collections.abc import Iterator
from typing import Any

from pki.request import CertificateRequest
from units import paths
from units.credentials import Certificate, SecretFile
from units.facts import NodeFacts
from units.files import Directory, File
from units.manifest import Manifest
from units.names import is_address, node_name
from units.pods import HostPath, Probe, StaticPod
from units.render import yaml_text
from units.resource import Resource
from units.services.base import trusted_file
from units.services.etcd import member_of
from units.systemd import reads

CONFIG = "/etc/kubernetes/kube-apiserver"
SERVICE_ACCOUNT_PUBLIC = f"{paths.PKI}/service-account/service-account.pub"
SERVICE_ACCOUNT_SECRET = f"{paths.SECRETS}/service-account/service-account.key"

CIPHERS = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
)


def apiserver(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    yield Directory(f"{paths.PKI}/apiserver", mode=0o700)
    yield Directory(f"{paths.PKI}/service-account")
    yield Directory(CONFIG)
    yield Directory(paths.AUDIT_LOG, mode=0o700)
    yield Directory(paths.SECRETS, mode=0o700)
    yield Directory(f"{paths.SECRETS}/service-account", mode=0o700)
    yield from _certificates(manifest, facts)
    # Several keys in one file; in the order of the manifest, because it restarts for the one that signs too.
    public = File(SERVICE_ACCOUNT_PUBLIC, "".join(manifest.trust.service_account_keys))
    yield public
    yield SecretFile(
        SERVICE_ACCOUNT_SECRET, manifest.trust.service_account_secret, manifest.trust.service_account_keys[0]
    )
    audit = File(f"{CONFIG}/audit-policy.yaml", yaml_text(audit_policy()), mode=0o600)
    authentication = File(f"{CONFIG}/authentication.yaml", yaml_text(authentication_config(manifest)), mode=0o600)
    yield audit
    yield authentication
    # Read only at the start: etcd's CA, and kubernetes' as --kubelet-certificate-authority. authentication.yaml, the
    # serving pair, --client-ca-file and the front-proxy CA reload by themselves (etcd-pki.md 3.4).
    authorities = (trusted_file(manifest, "etcd-clients"), trusted_file(manifest, "kubernetes"))
    yield StaticPod(
        name="kube-apiserver",
        image=f"registry.k8s.io/kube-apiserver:v{manifest.kubernetes_version}",
        command="kube-apiserver",
        arguments={**arguments(manifest, facts), **manifest.components.kube_apiserver},
        cpu="250m",
        # An etcd outage must not restart the API server too: readiness drains it (etcd-pki.md 4.2, measured).
        liveness=Probe("/livez?exclude=etcd", manifest.api.port, host=facts.private_ip),
        readiness=Probe("/readyz", manifest.api.port, host=facts.private_ip),
        startup=Probe("/livez", manifest.api.port, host=facts.private_ip),
        reads=reads(audit, public, *authorities),
        # The image's binary has cap_net_bind_service=+ep: without it in the bounding set exec fails with EPERM
        # (measured), and a port below 1024 needs it anyway.
        capabilities=("NET_BIND_SERVICE",),
        mounts=(
            HostPath(paths.AUTHORITIES),
            HostPath(f"{paths.PKI}/apiserver"),
            HostPath(f"{paths.PKI}/service-account"),
            HostPath(f"{paths.SECRETS}/service-account"),
            HostPath(CONFIG),
            HostPath(paths.AUDIT_LOG, read_only=False),
        ),
    )


def _certificates(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    names = [
        node_name(manifest, facts),
        f"kubernetes.default.svc.{manifest.network.cluster_domain}",
        f"api.internal.{manifest.cluster.name}",
    ]
    addresses = [facts.private_ip, manifest.network.kubernetes_service_ip]
    for name in (manifest.api.endpoint, *manifest.api.extra_sans):
        (addresses if is_address(name) else names).append(name)
    server = CertificateRequest(
        profile="apiserver",
        name=node_name(manifest, facts),
        dns_names=tuple(names),
        ip_addresses=tuple(addresses),
    )
    requests = {
        "server": server,
        "kubelet-client": CertificateRequest(profile="apiserver-kubelet-client"),
        "etcd-client": CertificateRequest(profile="apiserver-etcd-client"),
        "front-proxy-client": CertificateRequest(profile="front-proxy-client"),
    }
    for name, request in requests.items():
        yield Certificate(
            path=paths.pem("apiserver", name),
            request=request,
            bundle=manifest.trust.authority(request.authority).signing,
            jitter_key=facts.instance_id,
        )


def arguments(manifest: Manifest, facts: NodeFacts) -> dict[str, str]:
    main = next(cluster for cluster in manifest.etcd if cluster.name == "main")
    member_of(manifest, facts, main)
    server = paths.pem("apiserver", "server")
    etcd_client = paths.pem("apiserver", "etcd-client")
    kubelet_client = paths.pem("apiserver", "kubelet-client")
    front_proxy = paths.pem("apiserver", "front-proxy-client")
    overrides = [f"/events#https://127.0.0.1:{etcd.client_port}" for etcd in manifest.etcd if etcd.name == "events"]
    return {
        "advertise-address": facts.private_ip,
        "allow-privileged": "true",
        "api-audiences": manifest.trust.service_account_issuer,
        "audit-log-maxage": "30",
        "audit-log-maxbackup": "10",
        "audit-log-maxsize": "100",
        "audit-log-path": f"{paths.AUDIT_LOG}/audit.log",
        "audit-policy-file": f"{CONFIG}/audit-policy.yaml",
        **_anonymous(manifest),
        # The flag and not the file: kube-bench 1.2.6 to 1.2.8 look for it.
        "authorization-mode": "Node,RBAC",
        "client-ca-file": paths.authority_bundle("kubernetes"),
        "enable-admission-plugins": "NodeRestriction",
        "etcd-cafile": paths.authority_bundle("etcd-clients"),
        "etcd-certfile": etcd_client,
        "etcd-keyfile": etcd_client,
        "etcd-servers": f"https://127.0.0.1:{main.client_port}",
        **({"etcd-servers-overrides": overrides[0]} if overrides else {}),
        "goaway-chance": "0.001" if len(main.members) > 1 else "0",
        # kops leaves this out, and with it anybody on the network path is every kubelet.
        "kubelet-certificate-authority": paths.authority_bundle("kubernetes"),
        "kubelet-client-certificate": kubelet_client,
        "kubelet-client-key": kubelet_client,
        "kubelet-preferred-address-types": "InternalIP,Hostname",
        "profiling": "false",
        "proxy-client-cert-file": front_proxy,
        "proxy-client-key-file": front_proxy,
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-client-ca-file": paths.authority_bundle("front-proxy"),
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "secure-port": str(manifest.api.port),
        "service-account-extend-token-expiration": "false",
        "service-account-issuer": manifest.trust.service_account_issuer,
        "service-account-key-file": SERVICE_ACCOUNT_PUBLIC,
        "service-account-lookup": "true",
        "service-account-signing-key-file": SERVICE_ACCOUNT_SECRET,
        "service-cluster-ip-range": manifest.network.service_cidr,
        # The load balancer must see not-ready before connections are refused.
        "shutdown-delay-duration": "15s",
        "shutdown-send-retry-after": "true",
        "tls-cert-file": server,
        "tls-cipher-suites": ",".join(CIPHERS),
        "tls-min-version": "VersionTLS12",
        "tls-private-key-file": server,
    }


FIRST_WITH_ANONYMOUS_CONDITIONS = 32  # beta and on in 1.32, GA in 1.34 (etcd-pki.md 4.4)


def _anonymous(manifest: Manifest) -> dict[str, str]:
    """Anonymous requests reach health endpoints only; with anonymous-auth=false the probes get 401 (measured)."""
    if manifest.minor >= FIRST_WITH_ANONYMOUS_CONDITIONS:
        return {"authentication-config": f"{CONFIG}/authentication.yaml"}
    return {"anonymous-auth": "true"}


def authentication_config(manifest: Manifest) -> dict[str, Any]:
    version = "v1" if manifest.minor >= 34 else "v1beta1"
    return {
        "apiVersion": f"apiserver.config.k8s.io/{version}",
        "kind": "AuthenticationConfiguration",
        "anonymous": {
            "enabled": True,
            "conditions": [{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"}],
        },
    }


def audit_policy() -> dict[str, Any]:
    """Metadata of everything, bodies of RBAC changes, nothing of health checks; never a body that holds a secret."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["/livez*", "/readyz*", "/healthz*", "/version"]},
            {
                "level": "None",
                "users": ["system:kube-proxy"],
                "verbs": ["watch"],
                "resources": [{"group": "", "resources": ["endpoints", "services", "services/status"]}],
            },
            {
                "level": "None",
                "userGroups": ["system:nodes"],
                "verbs": ["get", "update", "patch"],
                "resources": [
                    {"group": "coordination.k8s.io", "resources": ["leases"]},
                    {"group": "", "resources": ["nodes/status"]},
                ],
            },
            {
                "level": "Metadata",
                "resources": [
                    {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
                    {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
                ],
            },
            {
                "level": "RequestResponse",
                "verbs": ["create", "update", "patch", "delete", "deletecollection"],
                "resources": [{"group": "rbac.authorization.k8s.io"}],
            },
            {"level": "Metadata"},
        ],
    }
