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
    """
    over = threading.Event()

    def play() -> None:
        while not over.wait(_POLL_S):
            # The API may not answer for a moment, and objects come and go meanwhile.
            with contextlib.suppress(OSError):
                for group, plural, _ in KINDS:
                    path = f"/apis/{group}/namespaces/{namespace}/{plural}"
                    for live in api.ask("GET", path)["items"]:
                        with contextlib.suppress(urllib.error.HTTPError):
                            _treat(api, path, live, plural, fault)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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
