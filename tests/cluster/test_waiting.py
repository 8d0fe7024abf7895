from __future__ import annotations

from typing import Any

import pytest

from mlops.cluster import Cluster, apply, connect
from mlops.cluster.causes import PATIENCE_S
from mlops.cluster.pods import events, log_lines, newest_pods, pods
from mlops.cluster.waiting import remove, wait_ready
from mlops.errors import RemoteError
from mlops.spec.place import ObjectRef
from tests.fixtures_cluster import Namespace
from tests.waiting import wait_until

REF = ObjectRef("apps/v1", "Deployment", "a")
LABELS = {"app": "a"}
NO_PATIENCE = dict.fromkeys(PATIENCE_S, 0.0)


def deployment(image: str = "r.example/a:1") -> dict[str, Any]:
    container = {"name": "server", "image": image}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "containers": [container],
                    "initContainers": [{**container, "name": "fetch"}],
                },
            },
        },
    }


def rolled_out(namespace: Namespace) -> Cluster:
    cluster = connect(str(namespace.kubeconfig))
    apply(cluster, deployment())
    wait_ready(cluster, [REF], 120)
    return cluster


def test_it_becomes_ready_and_progress_is_told(namespace: Namespace) -> None:
    namespace.fate("slow")
    cluster = connect(str(namespace.kubeconfig))
    apply(cluster, deployment())
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        namespace.fate("ready")

    wait_ready(cluster, [REF], 120, say)
    assert all(text.startswith("Deployment/a: ") for text in said)
    [pod] = pods(cluster, "app=a")
    assert pod.ready
    assert [each.name for each in pod.containers] == ["fetch", "server"]


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("crash", ("container `server`", "CrashLoopBackOff", "exit code 3", "  ValueError: no")),
        ("init-crash", ("init container `fetch`", "CrashLoopBackOff", "  ValueError: no")),
        ("no-image", ("ImagePullBackOff", 'Back-off pulling "r.example', "  Failed: Failed to")),
        ("unschedulable", ("is Unschedulable: 0/1 nodes are available", "FailedScheduling")),
    ],
)
def test_the_reason_why_it_does_not(
    namespace: Namespace, fate: str, words: tuple[str, ...]
) -> None:
    namespace.fate(fate, "starting\nValueError: no\n")
    cluster = connect(str(namespace.kubeconfig))
    apply(cluster, deployment())
    with pytest.raises(RemoteError) as caught:
        wait_ready(cluster, [REF], 120, patience_s=NO_PATIENCE)
    assert caught.value.message.startswith("Deployment/a does not become ready: ")
    for word in words:
        assert word in caught.value.message
    # What never began has written nothing.
    assert ("Its last words:" in caught.value.message) == ("crash" in fate)


def test_a_fault_may_pass(namespace: Namespace) -> None:
    namespace.fate("no-image")
    cluster = connect(str(namespace.kubeconfig))
    apply(cluster, deployment())
    with pytest.raises(RemoteError, match="after 1 s"):
        wait_ready(cluster, [REF], 0.6)
    namespace.fate("ready")
    wait_ready(cluster, [REF], 120)


def test_pods_of_before_are_not_blamed(namespace: Namespace) -> None:
    cluster = rolled_out(namespace)
    [old] = pods(cluster, "app=a")
    # From now on pods stay as they are; the old one begins to fail.
    namespace.fate("")
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    namespace.ask(
        "PATCH",
        f"/api/v1/namespaces/{{}}/pods/{old.name}/status",
        {"status": {"containerStatuses": [_status("server", waiting)]}},
        content_type="application/merge-patch+json",
    )
    apply(cluster, deployment("r.example/a:2"))
    # The controller takes its time to make the new one.
    wait_until(lambda: old.name not in [pod.name for pod in newest_pods(cluster, "app=a")])
    with pytest.raises(RemoteError) as caught:
        wait_ready(cluster, [REF], 1.5, patience_s=NO_PATIENCE)
    assert "CrashLoopBackOff" not in caught.value.message
    assert old.name not in [pod.name for pod in newest_pods(cluster, "app=a")]


def test_pods_that_failed_before_the_change_are_not_blamed_for_it(namespace: Namespace) -> None:
    namespace.fate("crash")
    cluster = connect(str(namespace.kubeconfig))
    apply(cluster, deployment())
    with pytest.raises(RemoteError, match="CrashLoopBackOff"):
        wait_ready(cluster, [REF], 120)
    # The controller takes its time: until it has made new pods only the old ones are there.
    changed = deployment("r.example/a:2")
    changed["spec"]["paused"] = True
    version = apply(cluster, changed)["metadata"]["resourceVersion"]
    with pytest.raises(RemoteError, match="after 1 s"):
        wait_ready(cluster, [REF], 0.6, changed={REF: version})
    # Where nothing was changed they are the ones that keep it from being ready.
    with pytest.raises(RemoteError, match="does not become ready: container `server`"):
        wait_ready(cluster, [REF], 5)
    namespace.fate("ready")
    version = apply(cluster, deployment("r.example/a:2"))["metadata"]["resourceVersion"]
    wait_ready(cluster, [REF], 120, changed={REF: version})


@pytest.mark.usefixtures("platforms")
def test_an_inference_service_is_ready_once_its_new_pods_are(namespace: Namespace) -> None:
    """KServe says Ready while old pods answer, and speaks of the Deployment's generation."""
    namespace.fate("slow")
    cluster = connect(str(namespace.kubeconfig))
    model = {"modelFormat": {"name": "mlflow"}, "storageUri": "s3://models/1"}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "a"},
        "spec": {"predictor": {"model": model}},
    }
    apply(cluster, service)
    model["storageUri"] = "s3://models/2"
    assert apply(cluster, service)["metadata"]["generation"] == 2
    behind = deployment()
    behind["metadata"]["labels"] = {"serving.kserve.io/inferenceservice": "a"}
    apply(cluster, behind)
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "observedGeneration": 1}
    path = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices/a/status"
    namespace.ask("PATCH", path, {"status": ready}, content_type="application/merge-patch+json")
    ref = ObjectRef("serving.kserve.io/v1beta1", "InferenceService", "a")
    with pytest.raises(RemoteError, match="after 1 s, 0 of 1 pods are ready"):
        wait_ready(cluster, [ref], 1)
    namespace.fate("ready")
    wait_ready(cluster, [ref], 120)


def _status(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": "",
        "imageID": "",
        "ready": False,
        "restartCount": 9,
        "state": state,
    }


def test_what_somebody_deleted_meanwhile(namespace: Namespace) -> None:
    with pytest.raises(RemoteError, match="Deployment/a is gone"):
        wait_ready(connect(str(namespace.kubeconfig)), [REF], 5)


def test_who_may_not_look_at_pods_is_told_what_is_known(namespace: Namespace) -> None:
    namespace.fate("slow")
    apply(connect(str(namespace.kubeconfig)), deployment())
    rule = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}
    with pytest.raises(RemoteError) as caught:
        wait_ready(connect(str(namespace.user("ann", rule))), [REF], 1)
    assert caught.value.message.endswith("after 1 s, 0 of 1 pods are ready")


def test_logs_and_events(namespace: Namespace) -> None:
    namespace.fate("crash", "one\ntwo\nthree\n")
    cluster = connect(str(namespace.kubeconfig))
    apply(cluster, deployment())
    with pytest.raises(RemoteError):
        wait_ready(cluster, [REF], 120)
    [pod] = pods(cluster, "app=a")
    assert list(log_lines(cluster, pod.name, "server", last=2)) == ["two\n", "three\n"]
    [event] = events(cluster, [pod.name], warnings_only=True)
    assert (event.type, event.reason, event.count) == ("Warning", "BackOff", 1)
    assert events(cluster, ["another"]) == []


def test_remove_waits_until_it_is_gone(namespace: Namespace) -> None:
    cluster = rolled_out(namespace)
    remove(cluster, REF, 30)
    assert namespace.names("/apis/apps/v1", "deployments") == []
    remove(cluster, REF, 30)
    held = {**deployment(), "metadata": {"name": "a", "finalizers": ["example.com/held"]}}
    apply(cluster, held)
    with pytest.raises(RemoteError, match=r"it waits for .*example\.com/held"):
        remove(cluster, REF, 0.5)
    namespace.ask(
        "PATCH",
        "/apis/apps/v1/namespaces/{}/deployments/a",
        {"metadata": {"finalizers": None}},
        content_type="application/merge-patch+json",
    )
