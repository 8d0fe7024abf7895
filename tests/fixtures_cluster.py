"""A Kubernetes cluster for the tests, started once and when first asked for.

`conftest.py` imports these fixtures. The API, its store and its controllers are real; the kubelet
is a stand-in, see `tests/kubelet.py`. Each test works in a namespace of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_deployment import Shop
from tests.kubelet import KubeletStandIn
from tests.kubernetes_api import KubernetesApi
from tests.kubernetes_programs import HOW, missing
from tests.requirements import require

CRDS = Path(__file__).parents[2] / "shared/crds"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace of one's own in the cluster of the tests.

    Attributes:
        api: The API.
        kubelet: Says what becomes of Pods.
        name: The namespace.
        kubeconfig: A kubeconfig whose current context is this namespace, as administrator.
    """

    api: KubernetesApi
    kubelet: KubeletStandIn
    name: str
    kubeconfig: Path

    def fate(self, fate: str, log: str = "") -> None:
        """Say what happens to the Pods of this namespace from now on; see `KubeletStandIn`."""
        self.kubelet.play(self.name, fate, log)

    def ask(self, method: str, path: str, body: object = None, **more: str) -> Any:
        """Ask the API, not by way of the code under test; `{}` in the path is the namespace."""
        return self.api.ask(method, path.format(self.name), body, **more)

    def names(self, group: str, plural: str) -> list[str]:
        """Return the names of all objects of a kind, in alphabetical order."""
        found = self.ask("GET", f"{group}/namespaces/{{}}/{plural}")["items"]
        return sorted(item["metadata"]["name"] for item in found)

    def user(self, user: str, *rules: Mapping[str, Any]) -> Path:
        """Return a kubeconfig of somebody who may do only this here; a rule is one of RBAC's."""
        self.api.allow(self.name, user, *rules)
        path = self.kubeconfig.with_name(f"{user}.kubeconfig")
        return self.api.kubeconfig(path, self.name, user)


_started: list[KubernetesApi | KubeletStandIn] = []
_files: set[Path] = set()


def note_files(items: Sequence[pytest.Item]) -> None:
    """Note which files have tests of the cluster."""
    _files.update(
        item.path for item in items if "kubernetes_api" in getattr(item, "fixturenames", ())
    )


def rest_between(item: pytest.Item) -> None:
    """Let the cluster run while a file has tests of it, and take no processor otherwise."""
    for each in _started:
        each.rest(resting=item.path not in _files)


@pytest.fixture(scope="session")
def kubernetes_api(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[KubernetesApi, KubeletStandIn]]:
    """Return the cluster of all tests. Do not stop it."""
    lacks = missing()
    require("kubernetes", not lacks, f"there is no {', '.join(lacks)} here; {HOW}")
    folder = tmp_path_factory.mktemp("kubernetes")
    api = KubernetesApi(folder)
    kubelet = KubeletStandIn(folder / "kubelet", api.url, api.certificate, api.tokens["admin"])
    try:
        api.start()
        kubelet.start()
        _started[:] = api, kubelet
        yield api, kubelet
    finally:
        _started.clear()
        kubelet.stop()
        api.stop()


@pytest.fixture(scope="session")
def platforms(kubernetes_api: tuple[KubernetesApi, KubeletStandIn]) -> None:
    """Install the CustomResourceDefinitions of KServe, Seldon Core and the Gateway API."""
    require("crds", CRDS.is_dir(), f"the schemas of the CRDs are not at {CRDS}")
    definitions = [json.loads(path.read_text()) for path in sorted(CRDS.glob("*/*.json"))]
    for each in definitions:
        if each["metadata"]["name"] == "inferenceservices.serving.kserve.io":
            _leave_open(each, "canary", "explainer", "transformer")
    kubernetes_api[0].install(definitions)


def _leave_open(definition: dict[str, Any], *fields: str) -> None:
    """Let parts of a spec be anything: looking them over takes the server seconds."""
    for version in definition["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        for field in fields:
            spec[field] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.fixture
def namespace(
    kubernetes_api: tuple[KubernetesApi, KubeletStandIn], tmp_path: Path
) -> Iterator[Namespace]:
    """Return a namespace of one's own; its Pods become ready unless the test says otherwise."""
    api, kubelet = kubernetes_api
    # Who asks for this while it runs was not in the list of `note_files`.
    for each in kubernetes_api:
        each.rest(resting=False)
    name = api.namespace()
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig", name)
    own = Namespace(api, kubelet, name, kubeconfig)
    own.fate("ready")
    yield own
    kubelet.play(name, "")
    api.ask("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def cluster_shop(ready_folder: Path, namespace: Namespace) -> Shop:
    """Return an empty project that works in `namespace`; its models are named by URI."""
    shop = Shop(ready_folder, "wine", {"KUBECONFIG": str(namespace.kubeconfig)})
    shop.settings.make_home()
    return shop
