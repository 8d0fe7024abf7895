"""A real Kubernetes API: etcd, kube-apiserver and the controllers, as processes of the tests.

There is no node and no kubelet: Deployments make ReplicaSets and these make Pods, the garbage
collector collects, and what happens to Pods is played by `tests/kubelet.py`.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
import urllib.error
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.kubernetes_client import TlsServer, client
from tests.kubernetes_programs import HOW, PROGRAMS, build, find_program, missing
from tests.servers import ServerProcess, unused_port
from tests.waiting import wait_until

#: Users of the server; all but `admin` may do nothing until a test lets them.
USERS = ("admin", "ann", "bob")
CONTROLLERS = (
    *("deployment-controller", "replicaset-controller", "garbage-collector-controller"),
    *("serviceaccount-controller", "namespace-controller"),
)
_ENOUGH_S = 60.0


class KubernetesApi:
    """A control plane in `folder`.

    Attributes:
        url: Address of the API.
        certificate: What its clients trust.
        tokens: Name of a user to what they show.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = [unused_port() for _ in range(4)]
        self.url = f"https://127.0.0.1:{ports[2]}"
        self.certificate = folder / "certificates" / "apiserver.crt"
        self.tokens = {user: secrets.token_hex(16) for user in USERS}
        #: Asks as the administrator, by HTTP and not by the client under test.
        self.ask = client(self.url, self.certificate, self.tokens["admin"])
        self._etcd = self._make_etcd(ports[0], ports[1])
        self._server = self._make_server(ports[0], ports[2])
        self._controllers = self._make_controllers(ports[3])

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._etcd.start()
        self._server.start()
        self._controllers.start()

    def rest(self, *, resting: bool) -> None:
        """Let it do nothing while it is not used, or go on."""
        for each in (self._etcd, self._server, self._controllers):
            each.rest(resting=resting)

    def stop(self) -> None:
        """End it at once."""
        for each in (self._controllers, self._server, self._etcd):
            each.stop()

    def kubeconfig(self, path: Path, namespace: str, user: str = "admin", url: str = "") -> Path:
        """Write a kubeconfig whose contexts are `NAMESPACE` for a user, and return its path."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": namespace,
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {
                        "server": url or self.url,
                        "certificate-authority": str(self.certificate),
                    },
                }
            ],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [
                {
                    "name": namespace,
                    "context": {"cluster": "tests", "user": user, "namespace": namespace},
                }
            ],
        }
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        return path

    def namespace(self) -> str:
        """Make a namespace of one's own and return its name."""
        name = f"n-{uuid.uuid4().hex[:10]}"
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        deadline = time.monotonic() + _ENOUGH_S
        while True:
            # Pods are refused before it is there.
            try:
                self.ask("GET", path)
            except urllib.error.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return name

    def allow(self, namespace: str, user: str, *rules: Mapping[str, Any]) -> None:
        """Let a user do things in a namespace, and wait until it holds; a rule is one of RBAC's."""
        group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        role = f"{user}-{uuid.uuid4().hex[:6]}"
        self.ask("POST", f"{group}/roles", {"metadata": {"name": role}, "rules": list(rules)})
        binding = {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"kind": "User", "name": user}],
        }
        self.ask("POST", f"{group}/rolebindings", binding)
        for rule in rules:
            self._wait_until_allowed(namespace, user, rule)

    def _wait_until_allowed(self, namespace: str, user: str, rule: Mapping[str, Any]) -> None:
        # What decides follows the roles some time behind.
        action = {
            "namespace": namespace,
            "verb": rule["verbs"][0],
            "group": rule["apiGroups"][0],
            "resource": rule["resources"][0].partition("/")[0],
            "subresource": rule["resources"][0].partition("/")[2],
            "name": rule.get("resourceNames", [""])[0],
        }
        review = {"spec": {"user": user, "resourceAttributes": action}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        wait_until(lambda: self.ask("POST", path, review)["status"]["allowed"])

    def install(self, definitions: list[dict[str, Any]]) -> None:
        """Install CustomResourceDefinitions and wait until they are served."""
        group = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for each in definitions:
            # What guards the groups of Kubernetes itself, and is left out of the stored schemas.
            each["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, tests"}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda each: self.ask("POST", group, each), definitions))
        deadline = time.monotonic() + _ENOUGH_S
        for each in definitions:
            name = each["metadata"]["name"]
            while not _established(self.ask("GET", f"{group}/{name}")):
                assert time.monotonic() < deadline, name
                time.sleep(0.1)

    def _make_etcd(self, clients: int, peers: int) -> ServerProcess:
        folder = self._folder / "etcd"
        folder.mkdir(parents=True)
        url = f"http://127.0.0.1:{clients}"
        peer = f"http://127.0.0.1:{peers}"
        return ServerProcess(
            [
                *(_program("etcd"), "--data-dir", str(folder / "data"), "--unsafe-no-fsync"),
                *("--listen-client-urls", url, "--advertise-client-urls", url),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"default={peer}", "--max-request-bytes", "10000000"),
            ],
            folder,
            url,
            "/health",
        )

    def _make_server(self, etcd: int, port: int) -> ServerProcess:
        folder = self._folder / "apiserver"
        folder.mkdir()
        key = folder / "service-accounts.key"
        _write_key(key)
        tokens = folder / "tokens.csv"
        lines = [
            f'{token},{user},{user},"{"system:masters" if user == "admin" else "people"}"\n'
            for user, token in self.tokens.items()
        ]
        tokens.write_text("".join(lines))
        tokens.chmod(0o600)
        return TlsServer(
            self.certificate,
            [
                _program("kube-apiserver"),
                *("--etcd-servers", f"http://127.0.0.1:{etcd}", "--secure-port", str(port)),
                *("--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"),
                *("--cert-dir", self.certificate.parent, "--token-auth-file", tokens),
                *("--service-account-key-file", key, "--service-account-signing-key-file", key),
                *("--service-account-issuer", "https://kubernetes.default.svc"),
                *("--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24"),
                *("--watch-cache=true", "--profiling=false"),
            ],
            folder,
            self.url,
            "/readyz",
        )

    def _make_controllers(self, port: int) -> ServerProcess:
        folder = self._folder / "controllers"
        folder.mkdir()
        certificates = folder / "certificates"
        return TlsServer(
            certificates / "kube-controller-manager.crt",
            [
                *(_program("kube-controller-manager"), "--leader-elect=false"),
                *("--kubeconfig", self.kubeconfig(folder / "kubeconfig", "default")),
                *("--bind-address", "127.0.0.1", "--secure-port", str(port)),
                *("--cert-dir", certificates, f"--controllers={','.join(CONTROLLERS)}"),
            ],
            folder,
            f"https://127.0.0.1:{port}",
            "/healthz",
        )


def _program(name: str) -> Path:
    found = find_program(name)
    assert found is not None, name
    return found


def _established(definition: Mapping[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _write_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)


def main(words: list[str]) -> int:
    """Print where the programs are, and build those that are missing unless told to `--find`."""
    if "--find" in words and missing():
        sys.stdout.write(f"there is no {', '.join(missing())} here; {HOW}\n")
        return 1
    for each in ("etcd", *PROGRAMS):
        found = find_program(each) or (build(each) if each in PROGRAMS else None)
        sys.stdout.write(f"{found or f'etcd is missing: {HOW}'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
