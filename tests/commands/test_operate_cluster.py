"""Deployments on a cluster, operated: a real API; Pods and their logs are a kubelet stand-in's."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlops.cluster import Cluster
from mlops.deployment.clusters import deploy as deploy_module
from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from mlops.workflows.operation import logs
from tests.commands.schemas import fits
from tests.commands.test_deploy_apply import AB, rolled_out
from tests.fixtures_cluster import Namespace
from tests.fixtures_deployment import Shop, even_requests
from tests.gateway import open_gateway
from tests.monitoring.journals import Stage, fill, numbers
from tests.serving.models import ROWS, records, save_linear
from tests.serving.server import KEY, make_launch, running, served
from tests.waiting import wait_until

_DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/wine"
_MERGE = "application/merge-patch+json"


def status(shop: Shop, *words: str) -> dict[str, Any]:
    document = shop.ok("status", "--json", *words).document
    fits("status", document)
    (found,) = document["deployments"]
    return dict(found)


def _next(lines: Iterator[str]) -> str:
    """Return the next line, and do not wait for ever for it."""
    found: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: found.put(next(lines, "")), daemon=True).start()
    return found.get(timeout=120)


def test_what_is_there_is_told(cluster_shop: Shop, namespace: Namespace, tmp_path: Path) -> None:
    shop = cluster_shop
    namespace.fate("ready", "serving wine at 0.0.0.0:8080\nanother line\n")
    shop.ok(*AB, "--apply")
    found = status(shop)
    assert (found["name"], found["state"], found["revision"]) == ("wine", "ready", 1)
    assert (found["target"], found["namespace"]) == ("kubernetes", namespace.name)
    assert found["urls"] == [f"http://wine.{namespace.name}.svc"]
    assert found["drift"] == []
    assert {each["ref"]["kind"] for each in found["objects"]} >= {"Deployment", "Service"}
    (pod,) = found["pods"]
    assert (pod["ready"], pod["restarts"]) == (True, 0)
    said = shop.ok("status", "wine").out
    assert f"kubernetes in namespace {namespace.name}" in said
    assert "✓ Deployment/wine  1 of 1 pods are ready" in said

    # The pod has an init container and the server, and both have a log.
    both = [f"{pod['name']}/{container}: " for container in ("fetch", "server")]
    assert shop.ok("logs", "-n", "1").out == "".join(f"{each}another line\n" for each in both)
    assert shop.ok("logs").out.count("serving wine") == 2
    followed = logs(shop.settings, None, last=1, follow=True)
    assert {_next(followed), _next(followed)} == {f"{each}another line\n" for each in both}
    # A pod that comes later is read too, from its beginning.
    namespace.fate("ready", "hello\n")
    namespace.ask("DELETE", f"/api/v1/namespaces/{{}}/pods/{pod['name']}")
    line = _next(followed)
    assert line.endswith(": hello\n")
    assert not line.startswith(pod["name"])

    history = shop.ok("history").out
    assert f"kubernetes in namespace `{namespace.name}`" in history
    entry = shop.ok("history", "--json").document["revisions"][0]
    assert entry["intent"]["place"]["target"] == "kubernetes"

    # What is not on this machine is not looked for here.
    for words in (("predict", "--data", "-"), ("feedback", "--request-id", "x", "--truth", "1")):
        refused = shop.run(*words, "--json", stdin="a\n1\n")
        assert refused.code == 5
        assert "--url" in refused.error["hint"]

    # Who may only look sees what they may.
    groups = ["", "apps", "policy", "networking.k8s.io", "autoscaling"]
    look: dict[str, object] = {"apiGroups": groups, "resources": ["*"], "verbs": ["get", "list"]}
    ann = ("--kubeconfig", str(namespace.user("ann", look)))
    found = status(shop, *ann)
    assert (found["state"], found["drift"]) == ("ready", None)
    assert "is not known" in shop.ok("status", *ann).out
    assert shop.run("stop", *ann, "--json").code == 4
    bob = namespace.user("bob")
    assert status(shop, "--kubeconfig", str(bob))["state"] == "unreachable"

    # Who shares the ledger finds it from another folder, and is told of it by name.
    (tmp_path / "other-folder").mkdir()
    ledger = f"sqlite:///{shop.folder / '.mlops' / 'mlflow.db'}"
    environ = {**shop.environ, "MLFLOW_TRACKING_URI": ledger}
    colleague = Shop(tmp_path / "other-folder", "wine", environ)
    assert status(colleague, "wine")["state"] == "ready"
    assert colleague.run("status", "beer").code == 5

    # A cluster that is away is one line, and another is not mistaken for it.
    away = namespace.api.kubeconfig(tmp_path / "away", namespace.name, url="https://127.0.0.1:9")
    found = status(shop, "--kubeconfig", str(away))
    assert (found["state"], found["objects"]) == ("unreachable", [])
    assert "127.0.0.1:9" in found["message"]
    assert "\n" not in found["message"]
    assert shop.run("logs", "--kubeconfig", str(away)).code == 6
    other = namespace.api.kubeconfig(tmp_path / "other", "elsewhere", url="https://127.0.0.1:9")
    refused = shop.run("stop", "--kubeconfig", str(other), "--json")
    assert (refused.code, "--context" in refused.error["hint"]) == (7, True)


def test_what_went_wrong_is_told(cluster_shop: Shop, namespace: Namespace) -> None:
    shop = cluster_shop
    shop.ok(*AB, "--apply")
    # Somebody meddles.
    labels = {"metadata": {"labels": {"app.kubernetes.io/name": "other"}}}
    service = "/api/v1/namespaces/{}/services/wine"
    namespace.ask("PATCH", service, labels, content_type=_MERGE)
    assert [each["kind"] for each in status(shop, "wine")["drift"]] == ["Service"]
    assert "differs from the revision" in shop.ok("status").out
    # And deletes.
    namespace.ask("DELETE", service)
    gone = status(shop)
    assert (gone["state"], "Service/wine" in gone["message"]) == ("missing", True)
    # The same command puts both right.
    shop.ok(*AB, "--apply")
    assert (status(shop)["state"], status(shop)["drift"]) == ("ready", [])
    # Its pods fail, and what they wrote before they ended is there to be read.
    namespace.fate("crash", "Traceback: no such model\n")
    wait_until(lambda: status(shop)["state"] == "failing")
    failing = status(shop)
    assert "CrashLoopBackOff" in failing["message"]
    assert failing["pods"][0]["restarts"] == 3
    said = shop.ok("logs").out
    assert "Traceback: no such model" in said
    assert "(CrashLoopBackOff, exit code 3)" in said
    assert "next: mlops logs wine" in shop.ok("status").out


def test_stop_takes_out_what_we_put_in(cluster_shop: Shop, namespace: Namespace) -> None:
    shop = cluster_shop
    shop.ok(*AB, "--apply")
    neighbour = {"metadata": {"name": "neighbour"}, "data": {"a": "b"}}
    namespace.ask("POST", "/api/v1/namespaces/{}/configmaps", neighbour)
    planned = shop.ok("stop", "--dry-run", "--json").document
    assert namespace.names("/apis/apps/v1", "deployments") == ["wine"]
    assert [each["kind"] for each in planned["kept"]] == ["PersistentVolumeClaim"]
    done = shop.ok("stop", "--json").document
    fits("stop", done)
    assert done == {**planned, "schema_version": 1}
    assert namespace.names("/apis/apps/v1", "deployments") == []
    assert namespace.names("/api/v1", "services") == []
    # What holds evidence, or its key, and what is somebody else's, stays.
    assert namespace.names("/api/v1", "persistentvolumeclaims") == ["wine-journal"]
    assert namespace.names("/api/v1", "secrets") == ["wine-mlops"]
    assert "neighbour" in namespace.names("/api/v1", "configmaps")
    assert status(shop)["state"] == "stopped"
    again = shop.ok("stop", "wine")
    assert "nothing to change" in again.err
    assert shop.ok("history", "--json").document["revisions"][0]["stopped_ms"] > 0
    # It comes back with its evidence, and goes with it if that is wanted.
    assert shop.ok(*AB, "--apply", "--json").document["revision"] == 1
    assert status(shop)["state"] == "ready"
    said = shop.ok("stop", "--delete-journal")
    assert "PersistentVolumeClaim/wine-journal deleted" in said.err
    path = "/api/v1/namespaces/{}/persistentvolumeclaims"
    left = namespace.ask("GET", path)["items"]
    # Without a controller that protects volumes in use it may go at once, or be on its way.
    assert all("deletionTimestamp" in each["metadata"] for each in left)
    # Somewhere else it begins anew, and nothing leads back.
    other = namespace.api.namespace()
    shop.ok(*AB, "--namespace", other, "--apply", "--no-wait")
    # Who does not say where means where it is.
    kept = shop.ok(*AB, "--apply", "--no-wait", "--json").document
    assert (kept["namespace"], kept["change"]) == (other, "nothing")
    refused = shop.run(*AB, "--namespace", namespace.name, "--apply", "--json")
    assert refused.code == 7
    assert shop.run("rollback", "--json").code == 7
    namespace.api.ask("DELETE", f"/api/v1/namespaces/{other}")


def test_a_cluster_is_not_taken_for_its_namesake(
    cluster_shop: Shop, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = cluster_shop
    shop.ok(*AB, "--apply", "--no-wait")
    # Another cluster behind the same context and address; only what it says of itself is played.
    monkeypatch.setattr(Cluster, "uid", "another")
    for words in (("stop",), (*AB, "--apply")):
        refused = shop.run(*words, "--json")
        assert refused.code == 7
        assert "--forget" in refused.error["hint"]
    assert shop.ok("stop", "--forget", "--dry-run", "--json").document["stopped"]
    gone = shop.ok("stop", "--forget", "--json").document
    fits("stop", gone)
    assert gone["stopped"]
    assert gone["deleted"] == []
    assert namespace.names("/apis/apps/v1", "deployments") == ["wine"]
    assert shop.run("stop", "--forget", "--delete-journal", "--json").code == 2
    other = namespace.api.namespace()
    shop.ok(*AB, "--namespace", other, "--apply", "--no-wait")
    namespace.api.ask("DELETE", f"/api/v1/namespaces/{other}")


def test_what_never_was_live_is_stopped_too(cluster_shop: Shop, namespace: Namespace) -> None:
    shop = cluster_shop
    namespace.fate("crash")
    assert shop.run(*AB, "--apply").code == 6
    assert status(shop)["state"] == "failing"
    shop.ok("stop")
    assert namespace.names("/apis/apps/v1", "deployments") == []
    assert status(shop)["state"] == "stopped"
    assert "never live" not in shop.ok("status").out
    namespace.fate("ready")
    assert shop.ok(*AB, "--apply", "--json").document["revision"] == 2
    assert status(shop)["state"] == "ready"


def test_a_move_from_this_machine_that_failed_can_be_taken_back(
    cluster_shop: Shop, namespace: Namespace, tmp_path: Path, free_port: int
) -> None:
    shop = cluster_shop
    model = str(save_linear(tmp_path / "model", [1.0, 2.0, 3.0]))
    here = ("deploy", "--name", "wine", "--model", model, "--port", str(free_port))
    shop.ok(*here)
    shop.ok("stop")
    namespace.fate("crash")
    assert shop.run(*AB, "--apply").code == 6
    assert status(shop)["state"] == "failing"
    shop.ok("stop")
    assert namespace.names("/apis/apps/v1", "deployments") == []
    # Then this machine is where it is again.
    assert status(shop)["state"] == "stopped"
    try:
        shop.ok(*here)
        assert status(shop)["state"] == "running"
    finally:
        shop.close()


def test_a_log_that_is_away_does_not_hide_the_others(
    cluster_shop: Shop, namespace: Namespace
) -> None:
    shop = cluster_shop
    namespace.fate("ready", "serving wine\n")
    shop.ok(*AB, "--apply")
    labels = {"app.kubernetes.io/name": "mlops", "app.kubernetes.io/instance": "wine"}
    container = {"name": "server", "image": "r.example/wine:1"}
    # A node whose kubelet does not answer.
    node = f"away-{namespace.name}"
    namespace.ask("POST", "/api/v1/nodes", {"metadata": {"name": node}})
    address = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 9}},
    }
    path = f"/api/v1/nodes/{node}"
    namespace.ask("PATCH", f"{path}/status", {"status": address}, content_type=_MERGE)
    lost = {
        "metadata": {"name": "lost", "labels": labels},
        "spec": {"nodeName": node, "containers": [container]},
    }
    pods = "/api/v1/namespaces/{}/pods"
    namespace.ask("POST", pods, lost)
    ran = {**container, "imageID": "", "ready": False, "restartCount": 0, "state": {"running": {}}}
    said = {"status": {"containerStatuses": [ran]}}
    namespace.ask("PATCH", f"{pods}/lost/status", said, content_type=_MERGE)
    out = shop.ok("logs").out
    assert "/server: serving wine" in out
    assert "lost: (The cluster at" in out
    namespace.ask("DELETE", path)


def _without_finalizers(namespace: Namespace, path: str) -> None:
    namespace.ask("PATCH", path, {"metadata": {"finalizers": None}}, content_type=_MERGE)


def test_a_volume_on_its_way_out_is_not_taken_for_one(
    cluster_shop: Shop, namespace: Namespace
) -> None:
    shop = cluster_shop
    settings = shop.folder / "mlops.toml"
    settings.write_text('[kubernetes]\nvolume = "1Gi"\n')
    shop.ok(*AB, "--apply")
    claim = "/api/v1/namespaces/{}/persistentvolumeclaims/wine-journal"
    held = {"metadata": {"finalizers": ["example.com/held"]}}
    namespace.ask("PATCH", claim, held, content_type=_MERGE)
    shop.ok("stop", "--delete-journal")
    refused = shop.run(*AB, "--apply", "--json")
    assert refused.code == 7
    assert "is being deleted and not gone yet: it waits for example.com/held" in str(refused.error)
    _without_finalizers(namespace, claim)
    # A volume that has grown does not keep an earlier revision from coming back.
    settings.write_text('[kubernetes]\nvolume = "5Gi"\n')
    shop.ok(*AB, "--split", "90/10", "--apply")
    assert shop.ok("rollback", "--json").document["spec"]["arms"][0]["weight"] == 0.5
    assert namespace.ask("GET", claim)["spec"]["resources"]["requests"]["storage"] == "5Gi"


class _Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def test_rollback_is_to_what_was_also_if_it_is_killed(
    cluster_shop: Shop, namespace: Namespace
) -> None:
    shop = cluster_shop
    shop.ok(*AB, "--apply")
    before = namespace.names("/api/v1", "configmaps")
    shop.ok(*AB[:-1], "r.example/wine:2", "--split", "90/10", "--apply")
    planned = shop.ok("rollback", "--dry-run", "--json").document
    assert (planned["changed"], planned["revision"]) == (False, 2)
    assert shop.ledger.numbers() == [2, 1]
    _killed_at("wait_ready", shop, "rollback", "--reason", "too slow")
    assert [each.number for each in shop.ledger.pending()] == [3]
    wait_until(lambda: rolled_out(namespace))
    said = shop.ok("rollback")
    # Once is enough: it is not rolled back again.
    assert "revision 3 serves a (s3://models/wine/1) 50 %" in said.out
    assert f"in namespace `{namespace.name}`" in said.out
    assert shop.ledger.numbers() == [3, 2, 1]
    entry = shop.ledger.entry(3)
    assert (entry.state, entry.intent.reason) == ("live", "too slow")
    # The image is that of the revision, not of today's settings.
    template = namespace.ask("GET", _DEPLOYMENT)["spec"]["template"]["spec"]
    assert {each["image"] for each in template["containers"]} == {"r.example/wine:1"}
    assert len(namespace.names("/api/v1", "configmaps")) == len(before)
    assert status(shop)["drift"] == []
    # Killed before anything was applied, it never was.
    _killed_at("apply", shop, "rollback", "--to", "2")
    assert shop.ok("rollback", "--to", "2", "--json").document["revision"] == 5
    assert [shop.ledger.entry(number).state for number in (4, 5)] == ["failed", "live"]


def _killed_at(step: str, shop: Shop, *words: str) -> None:
    def die(*_: object, **__: object) -> None:
        raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deploy_module, step, die)
        with pytest.raises(_Killed):
            shop.run(*words)


@contextmanager
def _server(folder: Path, number: int) -> Iterator[str]:
    """Our own server in place of the pod's, with evidence that arm `a` is better."""
    models = {
        "a": save_linear(folder / "a", [1.0, 2.0, 3.0]),
        "b": save_linear(folder / "b", [-1.0, 0.5, 10.0]),
    }
    what = served(models, number=number, reward="given", reward_range=(0.0, 1.0))
    home = folder / "server"
    home.mkdir()
    with running(make_launch(home, what), home) as server:

        def ask(retry: str) -> tuple[str, str]:
            answer = server.predict(records(ROWS[:1]), idempotency_key=retry)
            return answer.request_id, answer.arm

        for request_id, arm in even_requests(ask, KEY, 120):
            reward = 1.0 if arm == "a" else 0.0
            server.post("/feedback", {"request_id": request_id, "reward": reward})
        server.journal().close()
        yield f"http://127.0.0.1:{server.port}"


def test_the_winner_of_the_servers_own_report_is_promoted(
    cluster_shop: Shop, namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop = cluster_shop
    shop.ok(*AB, "--apply")
    # The journal is in the pod.
    for words in (("report",), ("promote",), ("promote", "--arm", "b")):
        refused = shop.run(*words, "--json")
        assert refused.code == 5
        assert "port-forward -n " in refused.error["hint"]
    assert shop.run("report", "--html", "-").code == 5
    with _server(tmp_path_factory.mktemp("pod"), 1) as url:
        report = shop.ok("report", "wine", "--url", url, "--json").document
        assert report["verdict"]["winner"] == "a", (report["verdict"], report["gates"])
        assert f"next: mlops promote wine --url {url}" in shop.ok("report", "--url", url).out
        wrong = shop.run("promote", "--url", url, "--arm", "b", "--json")
        assert wrong.code == 7
        said = shop.ok("promote", "--url", url, "--json").document
        assert [arm["name"] for arm in said["spec"]["arms"]] == ["a"]
        assert (said["revision"], said["replaced"]) == (2, 1)
        entry = shop.ledger.entry(2)
        assert entry.intent.evidence is not None
        assert entry.intent.evidence["verdict"]["winner"] == "a"
        # The server that was left knows nothing of the new revision.
        stale = shop.run("promote", "--url", url, "--json")
        assert stale.code == 7
        assert "A port-forward ends with its pod" in stale.error["hint"]
    with open_gateway({}) as gateway:
        gateway.says = (200, {}, json.dumps({**report, "name": "beer"}).encode())
        other = shop.run("promote", "--url", gateway.url, "--json")
        assert (other.code, "`beer`" in other.error["message"]) == (7, True)
        gateway.says = (200, {}, b'{"schema_version": 1}')
        assert shop.run("report", "--url", gateway.url, "--json").code == 3
    # Without evidence somebody has to say why.
    shop.ok(*AB, "--split", "80/20", "--apply")
    forced = shop.ok("promote", "--arm", "b", "--force", "everybody says so", "--json").document
    assert (forced["revision"], forced["reason"]) == (4, "everybody says so")
    assert shop.ledger.entry(4).intent.evidence is None
    # Pods that do not come leave the ledger as it was.
    namespace.fate("crash")
    failed = shop.run("rollback", "--json")
    assert failed.code == 6
    assert "CrashLoopBackOff" in failed.error["message"]
    live = shop.ledger.live()
    assert live is not None
    assert live.number == 4


def test_a_journal_in_postgresql_is_read_from_here(
    cluster_shop: Shop, namespace: Namespace, postgresql_url: str
) -> None:
    secret = {"metadata": {"name": "wine-journal"}, "stringData": {"url": "postgresql://x"}}
    namespace.ask("POST", "/api/v1/namespaces/{}/secrets", secret)
    shop = cluster_shop
    shop.environ.update(SHOP_DB=postgresql_url, MLOPS_JOURNAL_URL="env:SHOP_DB")
    shop.ok(*AB, "--apply")
    journal = SqlJournal(journal_url(postgresql_url, "wine"))
    # In place of what the pods would write.
    fill(journal, ["a", "b"], [Stage((0.5, 0.5), 400)], numbers([0.0, 1.0]))
    journal.close()
    assert shop.ok("report", "--json").document["verdict"]["winner"] == "a"
    assert shop.ok("promote", "--json").document["spec"]["arms"][0]["name"] == "a"
    del shop.environ["MLOPS_JOURNAL_URL"]
    refused = shop.run("report", "--json")
    assert (refused.code, "[journal] url" in refused.error["hint"]) == (5, True)
