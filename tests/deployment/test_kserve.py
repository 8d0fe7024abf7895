"""The KServe target: who splits, in which mode, from which version on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from mlops.deployment.targets.base import Rendered
from mlops.deployment.targets.kserve import KServe
from mlops.errors import InvalidInputError
from mlops.spec.deployment import DeploymentSpec
from tests.deployment.matrix import options
from tests.deployment.specs import details, known, ramped, spec

HOST = {"split": "gateway", "host": "wine.example.com"}


def rendered(deployment: DeploymentSpec, **given: Any) -> Rendered:
    return KServe().render(deployment, options("kserve", **given))


def objects(made: Rendered) -> list[Any]:
    return [yaml.safe_load(text) for text in made.files.values()]


def of_kind(made: Rendered, kind: str) -> list[Any]:
    return [document for document in objects(made) if document["kind"] == kind]


def refusal(deployment: DeploymentSpec, **given: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        rendered(deployment, **given)
    return caught.value.message, caught.value.hint or ""


def test_one_model_needs_no_split() -> None:
    made = rendered(spec(1.0))
    assert [document["kind"] for document in objects(made)] == [
        "ServingRuntime",
        "InferenceService",
    ]
    assert objects(made)[1]["metadata"]["name"] == "wine"


@pytest.mark.parametrize(
    ("weights", "percents"),
    [((0.5, 0.5), [50, 50]), ((0.5, 0.3, 0.2), [50, 30, 20]), ((1.0, 0.0), [100, 0])],
)
def test_a_graph_splits_by_percentages(weights: tuple[float, ...], percents: list[int]) -> None:
    made = rendered(spec(*weights))
    (graph,) = of_kind(made, "InferenceGraph")
    steps = graph["spec"]["nodes"]["root"]["steps"]
    assert [step["weight"] for step in steps] == percents
    names = [isvc["metadata"]["name"] for isvc in of_kind(made, "InferenceService")]
    assert [step["serviceName"] for step in steps] == names


def test_the_mode_is_always_written_in_the_words_of_the_version() -> None:
    for version, mode, word in (
        ("0.15", "standard", "RawDeployment"),
        ("0.15", "knative", "Serverless"),
        ("0.20", "standard", "Standard"),
        ("0.20", "knative", "Knative"),
    ):
        (isvc,) = of_kind(rendered(spec(1.0), version=version, mode=mode), "InferenceService")
        assert isvc["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == word


def test_models_are_found_by_a_runtime_of_our_own() -> None:
    made = rendered(spec(1.0))
    runtime, isvc = objects(made)
    model = isvc["spec"]["predictor"]["model"]
    assert model["protocolVersion"] == "v2"
    assert model["runtime"] == runtime["metadata"]["name"]
    assert runtime["metadata"]["annotations"]["serving.kserve.io/server-type"] == "mlserver"


def test_mlserver_without_parts_under_another_licence() -> None:
    made = rendered(spec(1.0), cluster_model_server="mlserver")
    (container,) = objects(made)[0]["spec"]["containers"]
    assert container["image"] == "docker.io/seldonio/mlserver:1.7.1-mlflow"
    assert objects(made)[0]["spec"]["annotations"]["prometheus.kserve.io/port"] == "8082"


def test_mlserver_cannot_load_what_a_current_mlflow_logs() -> None:
    given = options("kserve", cluster_model_server="mlserver")
    for logged, reason in (
        (details(), "is kept as skops"),
        (details(serialization="cloudpickle", mlflow="2.19.0"), "was pickled by Python 3.11"),
        (details(serialization="", python="3.10.1"), "was logged by MLflow 3.17.2"),
    ):
        with pytest.raises(InvalidInputError, match="cannot be deployed on KServe") as caught:
            KServe().render(spec(1.0), replace(given, details=known(spec(1.0), logged)))
        assert reason in caught.value.message
        assert "`--model-server mlops`" in (caught.value.hint or "")
    # Ours is built for them.
    KServe().render(spec(1.0), replace(options("kserve"), details=known(spec(1.0))))


def test_a_canary_in_standard_mode_waits_for_the_version_that_routes_it() -> None:
    message, hint = refusal(spec(0.9, 0.1), split="canary", version="0.20")
    assert "its routes send them no traffic before 0.21" in message
    assert "`--traffic-by graph`" in hint
    assert (
        "ignores `canaryTrafficPercent`"
        in refusal(spec(0.9, 0.1), split="canary", version="0.19")[0]
    )
    (isvc,) = of_kind(rendered(spec(0.9, 0.1), split="canary", version="0.21"), "InferenceService")
    (canary,) = isvc["spec"]["canary"]
    assert canary["trafficPercent"] == 10
    assert isvc["spec"]["predictor"]["name"] == "model-a"
    # The CRD asks for it here and the webhook refuses it there.
    assert canary["predictor"]["model"]["name"] == "kserve-container"
    assert "name" not in isvc["spec"]["predictor"]["model"]


def test_a_canary_in_knative_mode_is_applied_over_what_is_rolled_out() -> None:
    made = rendered(spec(0.9, 0.1), split="canary", mode="knative")
    (stable,) = of_kind(made, "InferenceService")
    canary = yaml.safe_load(made.beside["canary.yaml"])
    assert stable["metadata"]["name"] == canary["metadata"]["name"] == "wine"
    assert "canaryTrafficPercent" not in stable["spec"]["predictor"]
    assert canary["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert made.after_apply[-1] == "kubectl apply -f {folder}/canary.yaml"
    assert (
        "between two revisions" in refusal(spec(0.5, 0.3, 0.2), split="canary", mode="knative")[0]
    )


def test_shadows_need_the_gateway() -> None:
    message, hint = refusal(spec(1.0, shadows=(0.2,)))
    assert "KServe itself has no shadows" in message
    assert "`--traffic-by gateway`" in hint


@pytest.mark.parametrize(
    ("share", "mirror"),
    [
        (1.0, {}),
        (0.2, {"percent": 20}),
        (0.125, {"fraction": {"numerator": 1250, "denominator": 10000}}),
        (0.00001, {"fraction": {"numerator": 1, "denominator": 10000}}),
    ],
)
def test_mirrors_get_their_share(share: float, mirror: dict[str, Any]) -> None:
    (route,) = of_kind(rendered(spec(1.0, shadows=(share,)), **HOST), "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    found = rule["filters"][0]["requestMirror"]
    assert found.pop("backendRef") == {"name": "wine-try1-predictor", "port": 80}
    assert found == mirror


def test_an_old_gateway_api_would_mirror_everything() -> None:
    message, _ = refusal(spec(1.0, shadows=(0.2,)), gateway_api="1.2.1", **HOST)
    assert "would mirror every request" in message
    rendered(spec(1.0, shadows=(1.0,)), gateway_api="1.2.1", **HOST)


def test_arms_behind_one_route_have_one_name() -> None:
    made = rendered(spec(0.999, 0.001), **HOST)
    names = {
        isvc["spec"]["predictor"]["model"]["env"][0]["value"]
        for isvc in of_kind(made, "InferenceService")
    }
    assert names == {"wine"}
    (route,) = of_kind(made, "HTTPRoute")
    assert [b["weight"] for b in route["spec"]["rules"][0]["backendRefs"]] == [999, 1]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"split": "gateway"}, "needs a host name of its own"),
        ({"split": "gateway", "host": "!"}, "`kserve.host` is `!`"),
        ({"split": "gateway", "host": "w.x", "gateway": "g"}, "`kserve.gateway` is `g`"),
        ({**HOST, "mode": "knative"}, "Services of Standard mode"),
        ({"mode": "modelmesh"}, "`kserve.mode` is `modelmesh`"),
        ({"split": "random"}, "`kserve.split` is `random`"),
        ({"version": "latest"}, "not a version"),
        ({"version": "0.9"}, "older than 0.15"),
        ({"cluster_model_server": "prepackaged"}, "`cluster.model_server` is `prepackaged`"),
    ],
)
def test_what_kserve_would_refuse_or_ignore(given: dict[str, Any], fault: str) -> None:
    message, hint = refusal(spec(0.5, 0.5), **given)
    assert fault in message
    assert hint


@pytest.mark.parametrize(
    ("deployment", "fault"),
    [
        (spec(0.998, 0.002), "splits by whole percentages"),
        (replace(spec(1.0), sticky_by="header:X"), "cannot keep `header:X` on one"),
        (ramped(spec(0.95, 0.05)), "by which a ramp could move them"),
        (replace(spec(1.0), policy="thompson"), "not the policy `thompson`"),
        (spec(1.0, name="3wines"), "begin with a letter"),
        (spec(0.5, 0.5, name="w" * 50), "more than 63"),
    ],
)
def test_specs_that_kserve_cannot_do(deployment: DeploymentSpec, fault: str) -> None:
    message, hint = refusal(deployment)
    assert fault in message
    assert hint


def test_a_secret_becomes_a_service_account() -> None:
    made = rendered(spec(1.0), cluster_storage_secret="s3")
    (account,) = of_kind(made, "ServiceAccount")
    assert account["secrets"] == [{"name": "s3"}]
    (isvc,) = of_kind(made, "InferenceService")
    assert isvc["spec"]["predictor"]["serviceAccountName"] == account["metadata"]["name"]
