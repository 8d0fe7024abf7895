"""`mlops deploy --apply` against a real API; Pods become ready by a stand-in for the kubelet."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.cluster import Cluster, connect
from mlops.registry.ledger import Intent
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from mlops.spec.place import Place
from tests.commands.schemas import fits
from tests.commands.test_deploy import fingerprint
from tests.fixtures_cluster import Namespace
from tests.fixtures_deployment import Shop
from tests.waiting import wait_until
from tests.workflows.dying import Dying

IMAGE = "r.example/wine:1"
AB = (
    *("deploy", "--name", "wine", "--arm", "a=s3://models/wine/1"),
    *("--arm", "b=s3://models/wine/2", "--target", "kubernetes", "--image", IMAGE),
)
APPLY = (*AB, "--apply")
APPS = "/apis/apps/v1"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def dying() -> Iterator[Dying]:
    killer = Dying()
    yield killer
    killer.close()


def changes(document: dict[str, Any]) -> dict[str, str]:
    return {each["kind"]: each["change"] for each in document["objects"]}


def deployment(namespace: Namespace) -> dict[str, Any]:
    found: dict[str, Any] = namespace.ask("GET", f"{APPS}/namespaces/{{}}/deployments/wine")
    return found


def rolled_out(namespace: Namespace) -> bool:
    """Whether the controllers have seen the newest state, and its one pod is there."""
    live = deployment(namespace)
    said = live["status"]
    return bool(
        said.get("observedGeneration") == live["metadata"]["generation"]
        and said.get("updatedReplicas") == said.get("availableReplicas") == 1
    )


def config_maps(namespace: Namespace) -> list[str]:
    names = namespace.names("/api/v1", "configmaps")
    return [name for name in names if name.startswith("wine-")]


def test_the_life_of_a_deployment(cluster_shop: Shop, namespace: Namespace) -> None:
    # Of a deployment that was on this machine: its request ids stay valid.
    cluster_shop.where.folder.mkdir(parents=True, exist_ok=True)
    cluster_shop.where.key.write_bytes(bytes(range(32)))
    said = cluster_shop.ok(*APPLY)
    assert "wine will be created in namespace" in said.err
    assert "+ Deployment/wine" in said.err
    assert "Waiting until it is ready" in said.err
    assert f"wine revision 1 in namespace `{namespace.name}`" in said.out
    assert f"http://wine.{namespace.name}.svc" in said.out
    assert f"port-forward -n {namespace.name} service/wine 8080:80" in said.out
    assert deployment(namespace)["status"]["availableReplicas"] == 1
    entry = cluster_shop.ledger.entry(1)
    assert entry.state == "live"
    assert entry.intent.place is not None
    assert entry.intent.place.namespace == namespace.name
    assert entry.intent.place.options["cluster.image"] == IMAGE
    # The manifests lie beside the project, as without `--apply`.
    assert (cluster_shop.folder / "deploy/wine/deployment.yaml").exists()
    key = namespace.ask("GET", "/api/v1/namespaces/{}/secrets/wine-mlops")["data"]
    assert sorted(key) == ["request-id-key", "token"]
    assert base64.b64decode(key["request-id-key"]) == bytes(range(32))
    assert not any(value in said.out + said.err for value in key.values())

    # Twice is once.
    before = deployment(namespace)
    again = cluster_shop.ok(*APPLY, "--json").document
    fits("deploy-applied", again)
    assert (again["change"], again["revision"]) == ("nothing", 1)
    assert set(changes(again).values()) == {"same"}
    assert deployment(namespace) == before
    assert cluster_shop.ledger.numbers() == [1]

    # A dry run shows what would be, in the server's own words, and leaves no trace.
    files = fingerprint(cluster_shop.folder)
    dry = cluster_shop.ok(*APPLY, "--split", "90/10", "--dry-run")
    assert "--- live/Deployment/wine" in dry.out
    assert "-    mlops/revision: '1'" in dry.out
    assert "+    mlops/revision: '2'" in dry.out
    assert '+            "weight": 0.9' in dry.out
    assert "managedFields" not in dry.out
    plan = cluster_shop.ok(*APPLY, "--split", "90/10", "--dry-run", "--json").document
    fits("deploy-apply-plan", plan)
    assert (plan["plan"]["change"], plan["plan"]["revision"]) == ("update", 2)
    assert fingerprint(cluster_shop.folder) == files
    assert deployment(namespace) == before
    assert cluster_shop.ledger.numbers() == [1]

    # Another split is another revision; what it no longer has goes, its key stays.
    old = config_maps(namespace)
    changed = cluster_shop.ok(*APPLY, "--split", "90/10", "--json").document
    assert (changed["change"], changed["revision"]) == ("update", 2)
    assert any("SQLite file on a volume" in note for note in changed["notes"])
    assert changes(changed)["Deployment"] == "update"
    assert changes(changed)["Service"] == "same"
    assert len(config_maps(namespace)) == 1
    assert config_maps(namespace) != old
    assert namespace.ask("GET", "/api/v1/namespaces/{}/secrets/wine-mlops")["data"] == key

    # So is another image, though the spec is the same.
    other = cluster_shop.ok(*APPLY, "--split", "90/10", "--image", "r.example/wine:2", "--json")
    assert (other.document["change"], other.document["revision"]) == ("update", 3)

    # What somebody broke is put right, and is no new revision.
    broken = {"metadata": {"labels": {"app.kubernetes.io/instance": "beer"}}}
    path = "/api/v1/namespaces/{}/services/wine?fieldManager=kubectl-edit"
    namespace.ask("PATCH", path, broken, content_type=MERGE)
    words = (*APPLY, "--split", "90/10", "--image", "r.example/wine:2")
    conflict = cluster_shop.run(*words, "--json")
    assert conflict.code == 7
    assert "belongs to `kubectl-edit`" in conflict.error["message"]
    repaired = cluster_shop.ok(*words, "--force-conflicts", "--json").document
    assert (repaired["change"], repaired["revision"]) == ("repair", 3)
    assert changes(repaired)["Service"] == "update"
    assert cluster_shop.ledger.numbers() == [3, 2, 1]


def test_a_dry_run_before_anything_was_deployed(cluster_shop: Shop, namespace: Namespace) -> None:
    assert cluster_shop.ledger.numbers() == []
    cluster_shop.where.folder.mkdir(parents=True, exist_ok=True)
    cluster_shop.where.keys.write_text("{}")
    files = fingerprint(cluster_shop.folder)
    dry = cluster_shop.ok(*APPLY, "--dry-run")
    assert "+kind: Deployment" in dry.out
    secret = f"kubectl create secret generic wine-keys -n {namespace.name} --from-file=keys.json="
    assert secret in dry.err
    assert fingerprint(cluster_shop.folder) == files
    assert namespace.names(APPS, "deployments") == []
    assert "wine-mlops" not in namespace.names("/api/v1", "secrets")


def test_without_apply_no_cluster_is_touched(cluster_shop: Shop, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        called = threading.Event()

        def listen() -> None:
            try:
                listener.accept()[0].close()
            except OSError:
                return
            called.set()

        threading.Thread(target=listen, daemon=True).start()
        port = listener.getsockname()[1]
        path = Path(cluster_shop.environ["KUBECONFIG"])
        document = json.loads(path.read_text())
        document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        path.write_text(json.dumps(document))
        assert "kubectl apply -k" in cluster_shop.ok(*AB).out
        cluster_shop.ok(*AB, "--dry-run")
        assert not called.is_set()
        # And with it, one is.
        assert cluster_shop.run(*APPLY).code == 6
        assert called.wait(120)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((*AB, "--timeout", "5"), 2, "none is touched without `--apply`"),
        ((*AB, "--no-wait", "--force-conflicts"), 2, "`--no-wait` or `--force-conflicts`"),
        ((*APPLY, "--render", "-"), 2, "`--render -` prints manifests"),
        (("deploy", "--model", "s3://m/1", "--apply"), 2, "`--target local` has none"),
        ((*APPLY, "--context", "nowhere"), 5, "has no context `nowhere`"),
        ((*APPLY, "-n", "nowhere"), 5, "The cluster has no namespace `nowhere`"),
        ((*APPLY, "--kubeconfig", "missing"), 3, "`missing` does not exist"),
    ],
)
def test_what_cannot_be(cluster_shop: Shop, words: tuple[str, ...], code: int, text: str) -> None:
    said = cluster_shop.run(*words, "--json")
    assert said.code == code
    assert text in said.error["message"]
    assert said.error["hint"]
    assert cluster_shop.ledger.numbers() == []


def test_a_rollout_that_does_not_come(cluster_shop: Shop, namespace: Namespace) -> None:
    cluster_shop.ok(*APPLY)
    namespace.fate("crash", "loading models\nValueError: no such model\n")
    said = cluster_shop.run(*APPLY, "--split", "90/10", "--json")
    assert said.code == 6
    assert "CrashLoopBackOff" in said.error["message"]
    assert "  ValueError: no such model" in said.error["message"]
    assert "Revision 1 is still the live one in the ledger" in said.error["hint"]
    failed = cluster_shop.ledger.entry(2)
    assert (failed.state, failed.error) == ("failed", said.error["message"])
    assert cluster_shop.ledger.live_number() == 1
    # It left a ConfigMap; the one that is live is still there.
    assert len(config_maps(namespace)) == 2

    # The command of what was live puts it back, and clears away what the other left.
    namespace.fate("ready")
    back = cluster_shop.ok(*APPLY, "--json").document
    assert (back["change"], back["revision"]) == ("repair", 1)
    assert deployment(namespace)["metadata"]["annotations"]["mlops/revision"] == "1"
    assert len(config_maps(namespace)) == 1


def test_a_timeout_says_what_was_waited_for(cluster_shop: Shop, namespace: Namespace) -> None:
    namespace.fate("slow")
    said = cluster_shop.run(*APPLY, "--timeout", "5", "--json")
    assert said.code == 6
    assert "after 5 s, 0 of 1 pods are ready" in said.error["message"]
    assert "not ready yet" in said.error["message"] or "`server`" in said.error["message"]
    assert cluster_shop.ledger.entry(1).state == "failed"


def test_a_pod_of_which_nothing_is_known(cluster_shop: Shop, namespace: Namespace) -> None:
    namespace.fate("")
    said = cluster_shop.run(*APPLY, "--timeout", "2", "--json")
    assert said.code == 6
    describe = f" --namespace {namespace.name} describe pod "
    assert "is Pending: not ready yet" in said.error["message"]
    assert describe in said.error["message"]
    # Nor has it logs.
    shown = " ".join(cluster_shop.ok("status").out.split())
    assert "is not known: it has never been live" in shown
    assert describe in shown
    assert "mlops logs" not in shown


def test_not_to_wait(cluster_shop: Shop, namespace: Namespace) -> None:
    namespace.fate("slow")
    first = cluster_shop.ok(*APPLY, "--no-wait", "--json").document
    assert (first["ready"], first["revision"]) == (False, 1)
    second = cluster_shop.ok(*APPLY, "--split", "90/10", "--no-wait", "--json").document
    # Pods of the first may still need its ConfigMap.
    assert [e["name"] for e in second["objects"] if e["change"] == "later"] == [
        name for name in config_maps(namespace) if name == first["objects"][0]["name"]
    ]
    assert len(config_maps(namespace)) == 2
    again = cluster_shop.ok(*APPLY, "--split", "90/10", "--no-wait", "--json").document
    assert again["change"] == "nothing"
    namespace.fate("ready")
    waited = cluster_shop.ok(*APPLY, "--split", "80/20", "--json").document
    assert waited["revision"] == 3
    assert len(config_maps(namespace)) == 1


def test_what_is_not_ours_stays(cluster_shop: Shop, namespace: Namespace) -> None:
    cluster_shop.ok(*APPLY)
    [ours] = config_maps(namespace)
    # Somebody took it over: it is no longer of this deployment.
    labels = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}
    namespace.ask("PATCH", f"/api/v1/namespaces/{{}}/configmaps/{ours}", labels, content_type=MERGE)
    theirs = {"metadata": {"name": "wine-theirs"}}
    namespace.ask("POST", "/api/v1/namespaces/{}/configmaps", theirs)
    cluster_shop.ok(*APPLY, "--split", "90/10")
    assert {ours, "wine-theirs"} < set(config_maps(namespace))

    # With the journal in PostgreSQL there is no volume any more; what is on it is the user's.
    settings = '[kubernetes]\njournal_secret = "wine-db"\n'
    (cluster_shop.folder / "mlops.toml").write_text(settings)
    lacking = cluster_shop.run(*APPLY, "--json")
    assert lacking.code == 5
    assert "does not have: Secret/wine-db" in lacking.error["message"]
    assert cluster_shop.run(*APPLY, "--dry-run", "--json").error == lacking.error
    planned = cluster_shop.run(*APPLY, "--dry-run")
    assert planned.code == 5
    # The plan first.
    told = planned.err.index("will be updated"), planned.err.index("does not have: Secret/wine-db")
    assert told == tuple(sorted(told))
    secret = {"metadata": {"name": "wine-db"}, "stringData": {"url": "postgresql://u:hunter2@h/d"}}
    namespace.ask("POST", "/api/v1/namespaces/{}/secrets", secret)
    moved = cluster_shop.ok(*APPLY)
    assert "= PersistentVolumeClaim/wine-journal  (no longer needed, and kept" in moved.err
    assert namespace.names("/api/v1", "persistentvolumeclaims") == ["wine-journal"]
    assert "hunter2" not in moved.out + moved.err


def test_somebody_without_permission(cluster_shop: Shop, namespace: Namespace) -> None:
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}
    config = namespace.user("ann", everything)
    said = cluster_shop.run(*APPLY, "--kubeconfig", str(config), "--json")
    assert (said.code, said.error["code"]) == (4, "not_allowed")
    assert (
        f"`ann` may not patch configmaps in namespace `{namespace.name}`" in said.error["message"]
    )
    assert "kubectl auth can-i patch configmaps" in said.error["hint"]
    assert cluster_shop.ledger.numbers() == []


def test_a_role_with_what_is_needed_and_no_more(cluster_shop: Shop, namespace: Namespace) -> None:
    bob = ("--kubeconfig", str(_deployer(namespace)))
    cluster_shop.ok(*APPLY, *bob)
    assert deployment(namespace)["status"]["availableReplicas"] == 1
    # Who may not delete deploys all the same: what cannot be removed does not undo what is ready.
    said = cluster_shop.run(*APPLY, "--split", "90/10", *bob, "--json")
    assert said.code == 4
    assert "`bob` may not delete configmaps" in said.error["message"]
    assert "Revision 2 is live" in said.error["hint"]
    assert deployment(namespace)["metadata"]["annotations"]["mlops/revision"] == "2"
    assert cluster_shop.ledger.live_number() == 2
    assert len(config_maps(namespace)) == 2
    # Somebody who may clears up.
    assert cluster_shop.ok(*APPLY, "--split", "90/10", "--json").document["change"] == "repair"
    assert len(config_maps(namespace)) == 1


def _deployer(namespace: Namespace) -> Path:
    """Return the kubeconfig of somebody who may do what applying needs, and not delete."""
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": ["get", "create", "patch"]}
        for group, resources in (
            ("", ["configmaps", "services", "persistentvolumeclaims"]),
            ("apps", ["deployments"]),
            ("networking.k8s.io", ["networkpolicies"]),
            ("policy", ["poddisruptionbudgets"]),
        )
    ]
    secrets = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create"]}
    return namespace.user("bob", *rules, secrets)


def test_a_name_has_one_place(
    cluster_shop: Shop, namespace: Namespace, wine_shop: Shop, tmp_path: Path
) -> None:
    cluster_shop.ok(*APPLY)
    elsewhere = namespace.api.namespace()
    namespace.kubelet.play(elsewhere, "ready")
    said = cluster_shop.run(*APPLY, "-n", elsewhere, "--json")
    assert (said.code, said.error["code"]) == (7, "conflict")
    assert f"`wine` is in namespace `{namespace.name}`" in said.error["message"]
    assert "mlops stop wine" in said.error["hint"]
    assert namespace.api.ask("GET", f"{APPS}/namespaces/{elsewhere}/deployments")["items"] == []
    here = cluster_shop.run("deploy", "--name", "wine", "--model", "./model", "--json")
    assert here.code in (5, 7)

    # And what is live on this machine does not go to a cluster by accident.
    wine_shop.ok("deploy", "--model", "wine/1")
    local = Shop(wine_shop.folder, "wine", cluster_shop.environ)
    both = local.run(*APPLY, "--json")
    assert both.code == 7
    assert "is live on this machine" in both.error["message"]
    local.ok("stop")
    assert local.ok(*APPLY, "-n", elsewhere, "--json").document["revision"] == 2
    back = local.run("deploy", "--model", "wine/1", "--json")
    assert back.code == 7
    assert f"`wine` is in namespace `{elsewhere}`" in back.error["message"]
    # Once it was taken out of there it may come back, as a revision.
    local.ledger.stopped(2, 1)
    returned = local.ok("deploy", "--model", "wine/1", "--json").document
    assert (returned["change"], returned["revision"]) == ("update", 3)
    local.close()


def test_what_another_ledger_put_there_is_not_overwritten(
    cluster_shop: Shop, namespace: Namespace, tmp_path: Path
) -> None:
    cluster_shop.ok(*APPLY)
    before = deployment(namespace)
    (tmp_path / "other").mkdir()
    other = Shop(tmp_path / "other", "wine", cluster_shop.environ)
    other.settings.make_home()
    said = other.run(*APPLY, "--split", "90/10", "--json")
    assert said.code == 7
    assert "Deployment/wine" in said.error["message"]
    assert "does not know" in said.error["message"]
    assert deployment(namespace) == before
    assert other.ledger.numbers() == []
    # Its own volume, which a stopped one left, it knows.
    cluster_shop.ok("stop")
    cluster_shop.ok(*APPLY)
    taken = other.ok(*APPLY, "--split", "90/10", "--force-conflicts", "--json").document
    assert (taken["change"], taken["revision"]) == ("create", 1)


def test_a_cluster_that_was_made_anew_is_the_same(cluster_shop: Shop, namespace: Namespace) -> None:
    """What was killed before its address changed is given up, not asked for at the old one."""
    place = Place("kubernetes", namespace.name, "https://127.0.0.1:9", namespace.name, {})
    spec = DeploymentSpec("wine", (Arm("a", ModelVersion("s3://m", "s3://m", "s3://m"), 1.0),))
    cluster_shop.ledger.begin(Intent("deploy", spec, place=place), 0)
    assert cluster_shop.ok(*APPLY, "--json").document["revision"] == 2
    assert cluster_shop.ledger.entry(1).state == "failed"


_DEPLOY = "mlops.deployment.clusters.deploy"
_LEDGER = "mlops.registry.ledger:Ledger"


@pytest.mark.parametrize(
    ("target", "when", "call", "change"),
    [
        pytest.param(f"{_LEDGER}.begin", "after", 1, "update", id="after the intent"),
        pytest.param(f"{_DEPLOY}:apply", "after", 1, "update", id="in the midst"),
        pytest.param(f"{_DEPLOY}:wait_ready", "before", 1, "nothing", id="before waiting"),
        pytest.param(f"{_DEPLOY}:prune", "before", 1, "repair", id="before pruning"),
        pytest.param(f"{_LEDGER}._tag", "before", 2, "nothing", id="before the state"),
    ],
)
def test_killed(
    cluster_shop: Shop,
    namespace: Namespace,
    dying: Dying,
    target: str,
    when: str,
    call: int,
    change: str,
) -> None:
    cluster_shop.ok(*APPLY)
    config = ("--kubeconfig", str(namespace.kubeconfig))
    words = (*APPLY, "--split", "90/10", *config)
    status = dying.run(cluster_shop.folder, *words, target=target, when=when, call=call)
    assert status == -signal.SIGKILL
    taken = change != "update"
    if taken:
        wait_until(lambda: rolled_out(namespace))
    again = cluster_shop.ok(*words, "--json").document
    assert again["change"] == change
    assert again["revision"] == (2 if taken else 3)
    assert cluster_shop.ledger.pending() == []
    assert cluster_shop.ledger.live_number() == again["revision"]
    assert len(config_maps(namespace)) == 1
    revision = deployment(namespace)["metadata"]["annotations"]["mlops/revision"]
    assert revision == str(again["revision"])


def test_two_at_once(cluster_shop: Shop, namespace: Namespace) -> None:
    """The second finds the intent of the first, and says so."""
    from mlops.deployment.clusters.plan import prepare
    from mlops.deployment.manifests import render_options
    from mlops.deployment.request import read_request
    from mlops.deployment.spec_making import make_spec

    cluster_shop.ok(*APPLY)
    settings = cluster_shop.settings
    cluster: Cluster = connect(str(namespace.kubeconfig))
    request = read_request(settings, arms=["a=s3://models/wine/1", "b=s3://models/wine/3"])
    assert request.name != "wine"
    request = type(request)(request.arms, "wine", "", request.reward)
    spec = make_spec(settings, request)
    prepared = prepare(settings, cluster, "kubernetes", spec, render_options(settings))
    cluster_shop.ok(*APPLY, "--split", "70/30")

    from mlops.deployment.clusters.deploy import apply_prepared
    from mlops.errors import ConflictError

    with pytest.raises(ConflictError, match="deployed revision 2 in the meantime"):
        apply_prepared(settings, cluster, prepared, Intent("deploy", spec))
