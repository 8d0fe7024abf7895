"""A stand-in for the one node and its kubelet: it says what became of Pods, and runs nothing.

It binds Pods to a node that does not exist, writes their status as a kubelet would, serves their
logs over the kubelet's own HTTPS interface, from which kube-apiserver fetches them, and lets
deleted Pods go. What happens to the Pods of a namespace is up to the test.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import ipaddress
import json
import ssl
import sys
import threading
import time
import urllib.error
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.kubernetes_client import TlsServer, client
from tests.servers import unused_port

Json: TypeAlias = dict[str, Any]
NODE = "stand-in"
_POLL_S = 0.1
_PATCH = "application/merge-patch+json"


class KubeletStandIn:
    """Plays the kubelet for all namespaces of an API, in a process of its own.

    A thread would be in the way of tests that fork.

    Attributes:
        certificate: What it shows to those who fetch logs.
    """

    def __init__(self, folder: Path, url: str, certificate: Path, token: str) -> None:
        folder.mkdir(parents=True)
        self.certificate = folder / "kubelet.crt"
        self._plays = folder / "plays.json"
        self._fates: dict[str, tuple[str, str]] = {}
        self._write()
        config = folder / "config.json"
        config.write_text(json.dumps({"url": url, "trusts": str(certificate), "token": token}))
        config.chmod(0o600)
        port = unused_port()
        self._process = TlsServer(
            self.certificate,
            [sys.executable, "-m", "tests.kubelet", str(folder), str(port)],
            Path(__file__).parents[1],
            f"https://127.0.0.1:{port}",
            "/healthz",
            log=folder / "log",
        )

    def start(self) -> None:
        """Register the node and begin."""
        self._process.start()

    def rest(self, *, resting: bool) -> None:
        """Let it do nothing, or go on."""
        self._process.rest(resting=resting)

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def play(self, namespace: str, fate: str, log: str = "") -> None:
        """Say what happens to the Pods of a namespace from now on.

        Args:
            namespace: Which.
            fate: `ready`, `slow` (they run and are not ready), `no-image`, `crash`, `init-crash` or
                `unschedulable`; empty for nothing.
            log: What each container has written.
        """
        self._fates[namespace] = (fate, log)
        self._write()

    def _write(self) -> None:
        draft = self._plays.with_suffix(".new")
        draft.write_text(json.dumps(self._fates))
        draft.replace(self._plays)


class _Kubelet:
    """The process."""

    def __init__(self, folder: Path, port: int) -> None:
        config = json.loads((folder / "config.json").read_text())
        self._plays = folder / "plays.json"
        self._ask = client(config["url"], Path(config["trusts"]), config["token"])
        self._server = _log_server(self, folder, port)

    def run(self) -> None:
        """Register the node and play until the end."""
        node = {
            "metadata": {"name": NODE},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.server_port}},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        self._ask("POST", "/api/v1/nodes", node)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        while True:
            time.sleep(_POLL_S)
            # The API may be on its way out, and Pods come and go while we look.
            with contextlib.suppress(OSError):
                for pod in self._ask("GET", "/api/v1/pods")["items"]:
                    with contextlib.suppress(urllib.error.HTTPError):
                        self._treat(pod)

    def play_of(self, namespace: str) -> tuple[str, str]:
        """Return what happens in a namespace, and the log of its containers."""
        fate, log = json.loads(self._plays.read_text()).get(namespace, ("", ""))
        return fate, log

    def _treat(self, pod: Json) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        fate, _ = self.play_of(namespace)
        if pod["metadata"].get("deletionTimestamp"):
            self._ask("DELETE", f"{path}?gracePeriodSeconds=0")
            return
        if not fate or pod["status"].get("reason") == fate:
            return
        if fate != "unschedulable" and not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            self._ask("POST", f"{path}/binding", {"metadata": {"name": name}, "target": target})
        status = _status(pod, fate)
        # First, so that its events are there when the state is.
        for reason, message in _EVENTS.get(fate, ()):
            self._ask(
                "POST", f"/api/v1/namespaces/{namespace}/events", _event(pod, reason, message)
            )
        # `reason` remembers what was done; no controller reads it of a Pod that is not failed.
        self._ask("PATCH", f"{path}/status", {"status": {**status, "reason": fate}}, _PATCH)


_EVENTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "no-image": [("Failed", 'Failed to pull image "r.example/wine:1": not found')],
    "crash": [("BackOff", "Back-off restarting failed container")],
    "init-crash": [("BackOff", "Back-off restarting failed container fetch")],
    "unschedulable": [("FailedScheduling", "0/1 nodes are available: 1 Insufficient memory.")],
}


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _status(pod: Json, fate: str) -> Json:
    names = [each["name"] for each in pod["spec"]["containers"]]
    inits = [each["name"] for each in pod["spec"].get("initContainers", [])]
    if fate == "unschedulable":
        return {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes are available: 1 Insufficient memory.",
                }
            ],
        }
    done = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    running: Json = {"running": {"startedAt": _now()}}
    states = dict.fromkeys(names, running)
    init_states = dict.fromkeys(inits, done)
    restarts = 0
    if fate == "no-image":
        states = {
            name: _waiting("ImagePullBackOff", 'Back-off pulling "r.example/wine:1"')
            for name in names
        }
    elif fate == "crash":
        states = {name: _waiting("CrashLoopBackOff", "back-off 10s") for name in names}
        restarts = 3
    elif fate == "init-crash":
        states = {name: _waiting("PodInitializing", "") for name in names}
        init_states = {name: _waiting("CrashLoopBackOff", "back-off 10s") for name in inits}
        restarts = 3
    ready = "True" if fate == "ready" else "False"
    return {
        "phase": "Running" if fate in ("ready", "slow", "crash") else "Pending",
        "podIP": "10.1.0.1",
        "startTime": _now(),
        "conditions": [
            {"type": kind, "status": status, "lastTransitionTime": _now()}
            for kind, status in (
                ("PodScheduled", "True"),
                ("Initialized", "False" if fate == "init-crash" else "True"),
                ("ContainersReady", ready),
                ("Ready", ready),
            )
        ],
        "initContainerStatuses": [
            _container(pod, name, state, restarts if fate == "init-crash" else 0, state is done)
            for name, state in init_states.items()
        ],
        "containerStatuses": [
            _container(pod, name, state, restarts if fate == "crash" else 0, ready == "True")
            for name, state in states.items()
        ],
    }


def _waiting(reason: str, message: str) -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def _container(pod: Json, name: str, state: Json, restarts: int, ready: bool) -> Json:
    every = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    image = next(each["image"] for each in every if each["name"] == name)
    last = {"terminated": {"exitCode": 3, "reason": "Error"}} if restarts else {}
    return {
        "name": name,
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": "running" in state,
        "restartCount": restarts,
        "state": state,
        "lastState": last,
    }


def _event(pod: Json, reason: str, message: str) -> Json:
    meta = pod["metadata"]
    return {
        "metadata": {"generateName": f"{meta['name']}."},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
        "type": "Warning",
        "reason": reason,
        "message": message,
        "firstTimestamp": _now(),
        "lastTimestamp": _now(),
        "count": 1,
        "source": {"component": "kubelet", "host": NODE},
    }


def _log_server(kubelet: _Kubelet, folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # /containerLogs/NAMESPACE/POD/CONTAINER?tailLines=…
            path, _, query = self.path.partition("?")
            words = path.strip("/").split("/")
            log = kubelet.play_of(words[1])[1] if len(words) > 1 else ""
            lines = log.splitlines(keepends=True)
            for pair in query.split("&"):
                if pair.startswith("tailLines="):
                    lines = lines[-int(pair.removeprefix("tailLines=")) :]
            body = "".join(lines).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make the certificate that a kubelet makes for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NODE)])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "kubelet.crt", folder / "kubelet.key"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    key_path.chmod(0o600)
    return cert_path, key_path


if __name__ == "__main__":
    _Kubelet(Path(sys.argv[1]), int(sys.argv[2])).run()
