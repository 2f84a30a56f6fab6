"""A DOUBLE of kubelet, for machines without Kubernetes binaries. It runs no pod.

It reads what the real kubelet would read, refuses what the real one would refuse, and says on every line that it is a
double. What it vouches for is in /run/bootwright/kubelet-double.json; `make demo` prints it. It runs in the node's
virtual environment: PyYAML and cryptography are there.
"""

import argparse
import http.server
import json
import re
import ssl
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

SAYS = "KUBELET DOUBLE (not kubelet, runs no pods)"
VOUCHER = Path("/run/bootwright/kubelet-double.json")
PAUSE = 5.0  # seconds between two looks at the static pods; the real one has inotify


def say(text: str) -> None:
    sys.stdout.write(f"{SAYS}: {text}\n")
    sys.stdout.flush()


def main() -> int:
    arguments = parse(sys.argv[1:])
    import yaml

    try:
        config = read_config(yaml.safe_load(Path(arguments.config).read_text()))
        client = read_kubeconfig(yaml.safe_load(Path(arguments.kubeconfig).read_text()), arguments.hostname_override)
        server = read_serving_pair(config, arguments.hostname_override, arguments.node_ip)
    except (OSError, KeyError, ValueError, ssl.SSLError) as error:
        say(f"refuses to start: {type(error).__name__}: {error}")
        return 1
    serve_health(config)
    seen: dict[str, str] = {}
    while True:
        pods = read_static_pods(Path(config["staticPodPath"]))
        if pods != seen:
            for name, verdict in pods.items():
                if seen.get(name) != verdict:
                    say(f"static pod {name}: {verdict}")
            seen = pods
        write_voucher({"double": SAYS, "client": client, "server": server, "staticPods": pods})
        time.sleep(PAUSE)


def parse(given: list[str]) -> argparse.Namespace:
    """An unknown flag ends the real kubelet with exit 1; argparse ends with 2: just as fatal."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    required = ("config", "kubeconfig", "hostname-override", "node-ip")
    for name in (*required, "cloud-provider", "node-labels", "v"):
        parser.add_argument(f"--{name}", required=name in required)
    arguments = parser.parse_args(given)
    for label in filter(None, (arguments.node_labels or "").split(",")):
        domain = label.split("=")[0].rpartition("/")[0]
        if domain in ("node-role.kubernetes.io", "k8s.io") or domain.endswith(".k8s.io"):
            sys.exit(f"{SAYS}: unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: {label}")
    return arguments


def read_config(config: dict[str, Any]) -> dict[str, Any]:
    if (config["apiVersion"], config["kind"]) != ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"):
        raise ValueError(f"not a KubeletConfiguration v1beta1: {config.get('kind')}")
    known = set(packed("kubelet-fields.json")) | {"apiVersion", "kind"}
    if unknown := sorted(set(config) - known):
        raise ValueError(f"unknown fields, which the real kubelet would silently ignore: {', '.join(unknown)}")
    if not Path(config["staticPodPath"]).is_dir():
        raise ValueError(f"staticPodPath {config['staticPodPath']} is not a directory")
    if not Path(config["containerRuntimeEndpoint"].removeprefix("unix://")).is_socket():
        raise ValueError(f"no container runtime at {config['containerRuntimeEndpoint']}")
    if not Path(config["resolvConf"]).is_file():
        raise ValueError(f"no resolvConf {config['resolvConf']}")
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        raise ValueError("kubelet is configured to not run on a host using cgroup v1")
    say("read its configuration")
    return config


def packed(name: str) -> Any:
    """The lab packs this file and its data into one zip archive, which Python runs."""
    with zipfile.ZipFile(sys.argv[0]) as archive:
        return json.loads(archive.read(name))


def read_kubeconfig(kubeconfig: dict[str, Any], name: str) -> str:
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])  # raises when key and chain do not match
    subject = verified_subject(user["client-certificate"], cluster["certificate-authority"])
    if subject != f"system:node:{name} system:nodes":
        raise ValueError(f"client certificate is for {subject!r}, not for system:node:{name} in system:nodes")
    say(f"client certificate: {subject}, signed by the cluster's CA, key matches; server {cluster['server']}")
    return subject


def read_serving_pair(config: dict[str, Any], name: str, address: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["tlsCertFile"], config["tlsPrivateKeyFile"])
    authority = config["authentication"]["x509"]["clientCAFile"]
    subject = verified_subject(config["tlsCertFile"], authority)
    names = alternative_names(config["tlsCertFile"])
    if name not in names or address not in names:
        raise ValueError(f"serving certificate is for {names}, not for {name} and {address}")
    say(f"serving certificate: {subject} for {', '.join(names)}")
    return subject


def verified_subject(path: str, authority: str) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    leaf = x509.load_pem_x509_certificate(Path(path).read_bytes())
    signers = x509.load_pem_x509_certificates(Path(authority).read_bytes())
    if not any(is_signed_by(leaf, signer) for signer in signers):
        raise ValueError(f"{path} is not signed by {authority}")
    names = [*leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    names += leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return " ".join(str(attribute.value) for attribute in names)


def is_signed_by(leaf: Any, signer: Any) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        leaf.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def alternative_names(path: str) -> list[str]:
    from cryptography import x509

    leaf = x509.load_pem_x509_certificate(Path(path).read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def read_static_pods(folder: Path) -> dict[str, str]:
    """The real one reads every file without a leading dot, whatever its extension (config/file.go)."""
    return {path.name: judged(path) for path in sorted(folder.iterdir()) if re.match(r"[^.]", path.name)}


def judged(path: Path) -> str:
    import yaml

    try:
        pod = yaml.safe_load(path.read_text())
        problems = [*mismatches(pod, packed("pod-schema.json"), "pod"), *host_problems(pod["spec"])]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        return f"unreadable: {type(error).__name__}: {error}"
    return "; ".join(problems) if problems else "would run"


def host_problems(spec: dict[str, Any]) -> list[str]:
    problems = []
    for volume in spec.get("volumes", []):
        path, kind = volume["hostPath"]["path"], volume["hostPath"]["type"]
        if kind == "Directory" and not Path(path).is_dir():
            problems.append(f"hostPath {path} is not a directory")
    mounted = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    for argument in spec["containers"][0]["command"][1:]:
        flag, _, value = argument.partition("=")
        if not re.match(r"/(etc|run|var)/", value) or flag == "--audit-log-path":
            continue
        if not Path(value).exists():
            problems.append(f"{flag}: there is no {value}")
        elif not any(value.startswith(f"{path}/") for path in mounted):
            problems.append(f"{flag}: {value} is not mounted into the pod")
    return problems


def mismatches(value: Any, schema: dict[str, Any], path: str) -> Any:
    """The part of JSON Schema that the Kubernetes schemas use, references resolved by the lab."""
    for option in ("oneOf", "anyOf"):
        if option in schema:
            if all(list(mismatches(value, choice, path)) for choice in schema[option]):
                yield f"{path}: fits none of the allowed forms"
            return
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if kinds and not any(value is None if kind == "null" else isinstance(value, types[kind]) for kind in kinds):
        yield f"{path}: {type(value).__name__} is not {' or '.join(kinds)}"
        return
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{path}: lacks {name}" for name in schema.get("required", []) if name not in value)
        for name, item in value.items():
            below = properties.get(name, schema.get("additionalProperties", {}))
            if below is False:
                yield f"{path}: unknown field {name}"
            elif isinstance(below, dict):
                yield from mismatches(item, below, f"{path}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, item in enumerate(value):
            yield from mismatches(item, schema["items"], f"{path}[{number}]")


def serve_health(config: dict[str, Any]) -> None:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()
            self.wfile.write(b"ok" if self.path == "/healthz" else b"")

        def log_message(self, *_arguments: Any) -> None:
            pass

    address = (config["healthzBindAddress"], int(config["healthzPort"]))
    server = http.server.ThreadingHTTPServer(address, Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"healthy at http://{address[0]}:{address[1]}/healthz")


def write_voucher(voucher: dict[str, Any]) -> None:
    temporary = VOUCHER.with_name(".kubelet-double.tmp")
    temporary.write_text(json.dumps(voucher, indent=1))
    temporary.replace(VOUCHER)


if __name__ == "__main__":
    sys.exit(main())
