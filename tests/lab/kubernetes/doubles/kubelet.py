"""A DOUBLE of kubelet. It runs no pod: only for kube-apiserver it starts another double, as a systemd service.

It reads what the real kubelet would read, refuses what the real one would refuse, registers its node, and says on every
line that it is a double. What it vouches for is in /run/bootwright/kubelet-double.json; `make demo` prints it.
"""

import argparse
import contextlib
import http.server
import json
import re
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .node import Node, NodeSettings
from .packing import packed
from .pod_schema import mismatches
from .static_apiserver import keep_running
from .tls import Reloading
from .x509 import alternative_names, verified_subject

APISERVER = "apiserver-double"
SAYS = "KUBELET DOUBLE (not kubelet, runs no pods)"
VOUCHER = Path("/run/bootwright/kubelet-double.json")
PAUSE = 5.0  # seconds between two looks at the static pods; the real one has inotify
PORT = 10250
APISERVER_POD = "kube-apiserver.yaml"
RUNS = "would run"


def say(text: str) -> None:
    sys.stdout.write(f"{SAYS}: {text}\n")
    sys.stdout.flush()


def main(given: list[str]) -> int:
    arguments = parse(given)
    import yaml

    try:
        config = read_config(yaml.safe_load(Path(arguments.config).read_text()))
        kubeconfig = yaml.safe_load(Path(arguments.kubeconfig).read_text())
        client = read_kubeconfig(kubeconfig, arguments.hostname_override)
        server = read_serving_pair(config, arguments.hostname_override, arguments.node_ip)
        serve(config)
    except (OSError, KeyError, ValueError, ssl.SSLError) as error:
        say(f"refuses to start: {type(error).__name__}: {error}")
        return 1
    serve_health(config)
    labels = dict(label.split("=", 1) for label in (arguments.node_labels or "").split(",") if label)
    settings = NodeSettings(arguments.hostname_override, arguments.node_ip, labels, config)
    threading.Thread(target=Node(kubeconfig, settings, SAYS, say).run, daemon=True).start()
    seen: dict[str, str] = {}
    while True:
        folder = Path(config["staticPodPath"])
        pods = read_static_pods(folder)
        for name, verdict in pods.items():
            if seen.get(name) != verdict:
                say(f"static pod {name}: {verdict}")
        seen = pods
        runs = pods.get(APISERVER_POD) == RUNS
        keep_running(folder / APISERVER_POD if runs else None, APISERVER, say)
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
    return "; ".join(problems) if problems else RUNS


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


def serve(config: dict[str, Any]) -> None:
    """Kubelet's own API: it asks for a client certificate and then lets nobody in, but its certificate can be seen."""

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(config["tlsCertFile"], config["tlsPrivateKeyFile"])
        context.load_verify_locations(config["authentication"]["x509"]["clientCAFile"])
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    context = Reloading("serving certificate", (config["tlsCertFile"],), make, say)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            request.settimeout(10)
            with contextlib.suppress(OSError), context().wrap_socket(request, server_side=True) as connection:
                super().finish_request(connection, client_address)

    class Unauthorized(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = Server(("0.0.0.0", PORT), Unauthorized)
    threading.Thread(target=server.serve_forever, daemon=True).start()


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
