"""A stand-in for the operators of KServe and Seldon Core: it says that all is well, or is not.

It writes what their controllers would into the status of their objects, and starts nothing.
"""

from __future__ import annotations

import contextlib
import threading
import urllib.error
from collections.abc import Iterator
from typing import Any, TypeAlias

from tests.kubernetes_api import KubernetesApi

Json: TypeAlias = dict[str, Any]
_POLL_S = 0.1
_PATCH = "application/merge-patch+json"
#: Group and version, name in paths, and whether it says which generation it speaks of.
KINDS = (
    ("serving.kserve.io/v1beta1", "inferenceservices", False),
    ("serving.kserve.io/v1alpha1", "inferencegraphs", False),
    ("machinelearning.seldon.io/v1", "seldondeployments", False),
    ("mlops.seldon.io/v1alpha1", "servers", True),
    ("mlops.seldon.io/v1alpha1", "models", True),
    ("mlops.seldon.io/v1alpha1", "experiments", True),
)


@contextlib.contextmanager
def operators_stand_in(api: KubernetesApi, namespace: str, fault: str = "") -> Iterator[None]:
    """Play the operators in a namespace until the block ends.

    Args:
        api: The API.
        namespace: Where.
        fault: What they say is wrong; empty for nothing.

    Raises:
        HTTPError: The API refused what they asked; at the end of the block.
    """
    over = threading.Event()
    refusals: list[urllib.error.HTTPError] = []

    def play() -> None:
        while not over.wait(_POLL_S):
            try:
                _look(api, namespace, fault)
            except urllib.error.HTTPError as error:
                if not _is_busy(error):
                    refusals.append(error)
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                # It may not answer for a moment.
                continue

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        # Beside what the test failed of: without operators it has waited to no end.
        if refusals:
            raise refusals[0]


def _look(api: KubernetesApi, namespace: str, fault: str) -> None:
    for group, plural, _ in KINDS:
        path = f"/apis/{group}/namespaces/{namespace}/{plural}"
        for live in api.ask("GET", path)["items"]:
            try:
                _treat(api, path, live, plural, fault)
            except urllib.error.HTTPError as error:
                # It was deleted or changed meanwhile.
                if error.code not in (404, 409):
                    raise


def _is_busy(error: urllib.error.HTTPError) -> bool:
    return error.code == 429 or error.code >= 500


def _treat(api: KubernetesApi, path: str, live: Json, plural: str, fault: str) -> None:
    meta, status = live["metadata"], live.get("status", {})
    seen = (meta["generation"], fault)
    if status.get("annotations") == {"seen": str(seen)}:
        return
    wanted: Json = {"annotations": {"seen": str(seen)}}
    if plural == "seldondeployments":
        wanted |= {"state": "Failed", "description": fault} if fault else {"state": "Available"}
    else:
        ready = {"type": "Ready", "status": "False" if fault else "True", "message": fault}
        wanted["conditions"] = [ready]
    if any(says for _, name, says in KINDS if name == plural):
        wanted["observedGeneration"] = meta["generation"]
    if plural == "servers":
        wanted |= {"loadedModels": 0, "replicas": 1, "selector": ""}
    if plural == "inferencegraphs" and not fault:
        wanted["url"] = f"http://{meta['name']}.{meta['namespace']}.example.com"
    api.ask("PATCH", f"{path}/{meta['name']}/status", {"status": wanted}, _PATCH)
