"""Deployments on KServe and Seldon Core; their operators are played, their definitions are real."""

from __future__ import annotations

import pytest

from tests.fixtures_cluster import Namespace
from tests.fixtures_deployment import Shop
from tests.operators import operators_stand_in

ARMS = ("--arm", "a=s3://models/wine/1", "--arm", "b=s3://models/wine/2")
IMAGE = ("--image", "r.example/wine:1")
DEPLOY = ("deploy", "--name", "wine", *ARMS, "--apply", "--json")
SERVING = "/apis/serving.kserve.io"
SELDON2 = "/apis/mlops.seldon.io/v1alpha1"


@pytest.mark.usefixtures("platforms")
def test_kserve(cluster_shop: Shop, namespace: Namespace) -> None:
    with operators_stand_in(namespace.api, namespace.name):
        first = cluster_shop.ok(*DEPLOY, *IMAGE, "--target", "kserve").document
        services = f"{SERVING}/v1beta1", "inferenceservices"
        assert namespace.names(*services) == ["wine-a", "wine-b"]
        assert first["urls"] == [f"http://wine.{namespace.name}.example.com"]
        again = cluster_shop.ok(*DEPLOY, *IMAGE, "--target", "kserve").document
        assert (again["change"], again["revision"]) == ("nothing", 1)
        # The winner alone: graph and loser go.
        one = ("deploy", "--name", "wine", "--arm", "a=s3://models/wine/1", "--apply", "--json")
        changed = cluster_shop.ok(*one, *IMAGE, "--target", "kserve").document
        gone = {(e["kind"], e["name"]) for e in changed["objects"] if e["change"] == "delete"}
        assert ("InferenceGraph", "wine") in gone
        assert ("InferenceService", "wine-b") in gone
        assert namespace.names(*services) == ["wine"]
        assert namespace.names(f"{SERVING}/v1alpha1", "inferencegraphs") == []


@pytest.mark.usefixtures("platforms")
def test_our_server_comes_once_what_it_asks_is_ready(
    cluster_shop: Shop, namespace: Namespace
) -> None:
    words = (*DEPLOY, *IMAGE, "--target", "kserve", "--router", "--timeout", "2")
    # No operator: the model servers never become ready, so nothing is put in front of them.
    said = cluster_shop.run(*words)
    assert said.code == 6
    assert "InferenceService/wine-a-" in said.error["message"]
    assert namespace.names("/apis/apps/v1", "deployments") == []
    with operators_stand_in(namespace.api, namespace.name):
        fine = cluster_shop.ok(*words[:-1], "30").document
    assert fine["urls"] == [f"http://wine.{namespace.name}.svc"]
    assert "port-forward" in fine["next_commands"][0]
    assert namespace.names("/apis/apps/v1", "deployments") == ["wine"]
    assert "wine-mlops" in namespace.names("/api/v1", "secrets")


@pytest.mark.usefixtures("platforms")
def test_a_knative_canary_comes_in_two_steps(cluster_shop: Shop, namespace: Namespace) -> None:
    words = (*IMAGE, "--target", "kserve", "--mode", "knative", "--traffic-by", "canary")
    with operators_stand_in(namespace.api, namespace.name):
        said = cluster_shop.ok("deploy", "--name", "wine", *ARMS, "--apply", *words)
        assert "Applying the rest" in said.err
        path = f"{SERVING}/v1beta1/namespaces/{{}}/inferenceservices/wine"
        live = namespace.ask("GET", path)
        assert live["metadata"]["generation"] == 2
        assert live["spec"]["predictor"]["canaryTrafficPercent"] == 50
        assert cluster_shop.ok(*DEPLOY, *words).document["change"] == "nothing"
        assert namespace.ask("GET", path)["metadata"]["generation"] == 2


@pytest.mark.usefixtures("platforms")
def test_seldon(cluster_shop: Shop, namespace: Namespace) -> None:
    with operators_stand_in(namespace.api, namespace.name, fault="no such graph"):
        said = cluster_shop.run(*DEPLOY, *IMAGE, "--target", "seldon")
        assert said.code == 6
        assert "SeldonDeployment/wine does not become ready: no such graph" in str(said.error)
    with operators_stand_in(namespace.api, namespace.name):
        fine = cluster_shop.ok(*DEPLOY, *IMAGE, "--target", "seldon").document
        assert (fine["change"], fine["revision"]) == ("create", 2)


@pytest.mark.usefixtures("platforms")
def test_seldon2_weights_make_the_experiment_anew(cluster_shop: Shop, namespace: Namespace) -> None:
    with operators_stand_in(namespace.api, namespace.name):
        cluster_shop.ok(*DEPLOY, "--target", "seldon2")
        path = f"{SELDON2}/namespaces/{{}}/experiments/wine"
        before = namespace.ask("GET", path)
        models = namespace.names(SELDON2, "models")
        cluster_shop.ok(*DEPLOY, "--target", "seldon2", "--split", "90/10")
        after = namespace.ask("GET", path)
        assert before["metadata"]["uid"] != after["metadata"]["uid"]
        weights = [each["weight"] for each in after["spec"]["candidates"]]
        assert weights[0] == 9 * weights[1]
        assert namespace.names(SELDON2, "models") == models


@pytest.mark.usefixtures("platforms")
def test_a_platform_keeps_no_evidence(cluster_shop: Shop, namespace: Namespace) -> None:
    shop = cluster_shop
    with operators_stand_in(namespace.api, namespace.name):
        shop.ok(*DEPLOY, *IMAGE, "--target", "seldon")
        (found,) = shop.ok("status", "--json").document["deployments"]
        assert (found["state"], found["target"], found["drift"]) == ("ready", "seldon", [])
        for asked in (("report",), ("promote",), ("promote", "--arm", "b")):
            refused = shop.run(*asked, "--json")
            assert refused.code == 7
            assert "keep no evidence" in refused.error["message"]
            assert "--force" in refused.error["hint"]
        said = shop.ok("promote", "--arm", "b", "--force", "it is newer", "--json").document
        assert [arm["name"] for arm in said["spec"]["arms"]] == ["b"]
        group = "/apis/machinelearning.seldon.io/v1"
        live = namespace.ask("GET", f"{group}/namespaces/{{}}/seldondeployments/wine")
        assert "children" not in live["spec"]["predictors"][0]["graph"]
        (found,) = shop.ok("status", "--json").document["deployments"]
        assert found["drift"] == []
        assert len(shop.ok("rollback", "--json").document["spec"]["arms"]) == 2
        shop.ok("stop")
    assert namespace.names(group, "seldondeployments") == []
