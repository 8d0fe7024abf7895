"""Our server in front of a platform's: where its arms are, and what need not be refused then."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from mlops.deployment.targets import TARGETS, Rendered
from mlops.errors import InvalidInputError
from mlops.linting import Context, lint
from mlops.spec.deployment import DeploymentSpec, from_dict
from tests.deployment.matrix import options
from tests.deployment.specs import OLD, known, model, spec, with_endpoint

PLATFORMS = ("kserve", "seldon", "seldon2")
ELSEWHERE = "mlflow+http://other:5000#token=OTHER_TOKEN"


def rendered(target: str, deployment: DeploymentSpec, **given: Any) -> Rendered:
    options_ = options(target, deployment, **{"cluster_router": True, **given})
    made: Rendered = TARGETS.load(target)().render(deployment, options_)
    return made


def objects(made: Rendered, *kinds: str) -> list[Any]:
    found = [yaml.safe_load(text) for text in made.files.values()]
    return [document for document in found if document["kind"] in kinds]


def revision(made: Rendered) -> DeploymentSpec:
    (document,) = objects(made, "ConfigMap")
    return from_dict(json.loads(document["data"]["revision.json"])["spec"])


def names(made: Rendered) -> list[str]:
    kinds = ("InferenceService", "SeldonDeployment", "Model")
    return [document["metadata"]["name"] for document in objects(made, *kinds)]


def refusal(target: str, deployment: DeploymentSpec, **given: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        TARGETS.load(target)().check(deployment, options(target, **given))
    return caught.value.message, caught.value.hint or ""


# Where the arms are


@pytest.mark.parametrize(
    ("target", "given", "url"),
    [
        ("kserve", {}, "v2+http://{name}-predictor.shop.svc/v2/models/wine"),
        ("kserve", {"mode": "knative"}, "v2+http://{name}-predictor.shop.svc/v2/models/wine"),
        ("kserve", {"headless": True}, "v2+http://{name}-predictor.shop.svc:8080/v2/models/wine"),
        (
            "kserve",
            {"headless": True, "mode": "knative"},
            "v2+http://{name}-predictor.shop.svc/v2/models/wine",
        ),
        ("kserve", {"cluster_namespace": ""}, "v2+http://{name}-predictor/v2/models/wine"),
        (
            "kserve",
            {"cluster_model_server": "mlserver"},
            "v2+http://{name}-predictor.shop.svc/v2/models/wine",
        ),
        ("seldon", {}, "v2+http://{name}-default.shop.svc:8000/v2/models/model"),
        (
            "seldon",
            {"cluster_model_server": "mlserver"},
            "v2+http://{name}-default.shop.svc:8000/v2/models/model",
        ),
        (
            "seldon",
            {"cluster_model_server": "prepackaged"},
            "seldon+http://{name}-default.shop.svc:8000",
        ),
        ("seldon", {"cluster_namespace": ""}, "v2+http://{name}-default:8000/v2/models/model"),
        ("seldon2", {}, "v2+http://seldon-mesh.shop.svc/v2/models/{name}#seldon-model={name}"),
        (
            "seldon2",
            {"cluster_namespace": ""},
            "v2+http://seldon-mesh/v2/models/{name}#seldon-model={name}",
        ),
    ],
)
def test_arms_are_asked_where_the_platform_puts_them(
    target: str, given: dict[str, Any], url: str
) -> None:
    made = rendered(target, spec(0.5, 0.5), **{"cluster_namespace": "shop", **given})
    wanted = [url.format(name=name) for name in names(made)]
    assert [arm.model.remote for arm in revision(made).arms] == wanted
    # It is the REF that means this endpoint.
    endpoints = [arm.model.endpoint for arm in revision(made).arms]
    assert [endpoint.ref for endpoint in endpoints if endpoint] == wanted


def test_the_path_names_the_model_as_its_server_does() -> None:
    (isvc, _) = objects(rendered("kserve", spec(0.5, 0.5)), "InferenceService")
    environment = isvc["spec"]["predictor"]["model"]["env"]
    assert {"name": "MLSERVER_MODEL_NAME", "value": "wine"} in environment
    (sdep, _) = objects(rendered("seldon", spec(0.5, 0.5)), "SeldonDeployment")
    (predictor,) = sdep["spec"]["predictors"]
    assert (sdep["spec"]["protocol"], predictor["graph"]["name"]) == ("v2", "model")
    assert predictor["name"] == "default"


@pytest.mark.parametrize("target", PLATFORMS)
def test_it_is_the_same_experiment_wherever_models_are_loaded(target: str) -> None:
    deployment = spec(0.5, 0.5)
    routed = revision(rendered(target, deployment))
    assert routed.experiment == deployment.experiment
    arms = tuple(replace(arm, model=replace(arm.model, remote="")) for arm in routed.arms)
    assert replace(routed, arms=arms) == deployment


def test_knative_needs_the_namespace() -> None:
    message, hint = refusal("kserve", spec(1.0), cluster_router=True, mode="knative")
    assert "a host name with the namespace in it" in message
    assert "`--namespace`" in hint


# One object for each model


@pytest.mark.parametrize("target", PLATFORMS)
def test_another_model_is_another_object(target: str) -> None:
    before = spec(0.5, 0.5)
    other = replace(before.arms[1], model=model(9))
    after = replace(before, arms=(before.arms[0], other))
    first, second = names(rendered(target, before)), names(rendered(target, after))
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert names(rendered(target, replace(before, sticky_by="header:X"))) == first
    assert names(rendered(target, spec(0.9, 0.1))) == first


@pytest.mark.parametrize("target", PLATFORMS)
def test_a_change_of_weights_touches_no_model_server(target: str) -> None:
    def rest(made: Rendered) -> dict[str, str]:
        ours = ("configmap.yaml", "deployment.yaml")
        return {name: text for name, text in made.files.items() if name not in ours}

    assert rest(rendered(target, spec(0.5, 0.5))) == rest(rendered(target, spec(0.9, 0.1)))


@pytest.mark.parametrize("target", PLATFORMS)
def test_what_earlier_revisions_had_can_be_removed(target: str) -> None:
    made = rendered(target, spec(0.5, 0.5), cluster_namespace="shop")
    (last,) = [command for command in made.after_apply if "delete" in command]
    kinds = ("InferenceService", "SeldonDeployment", "Model")
    digests = {each["metadata"]["labels"]["mlops/model-digest"] for each in objects(made, *kinds)}
    assert last.startswith("kubectl delete -n shop ")
    assert f"mlops/model-digest notin ({','.join(sorted(digests))})" in last


@pytest.mark.parametrize("target", PLATFORMS)
def test_arms_are_there_before_traffic(target: str) -> None:
    made = rendered(target, spec(0.5, 0.5))
    *_, apply, wait = made.before_apply
    assert apply.startswith("kubectl apply -f {folder}/")
    assert "deployment.yaml" not in apply.replace("seldondeployment", "")
    assert wait.startswith("kubectl wait")
    for name in names(made):
        assert f"/{name}" in wait


@pytest.mark.parametrize("target", PLATFORMS)
def test_feedback_to_it_is_no_fault_of_the_platform(target: str) -> None:
    made = rendered(target, spec(0.5, 0.5))
    assert lint(made.files, Context(feedback=True)) == []
    without = {name: text for name, text in made.files.items() if name != "deployment.yaml"}
    found = {finding.rule for finding in lint(without, Context(feedback=True))}
    wanted = {"kserve": {"kserve/feedback"}, "seldon": {"seldon/v2-feedback"}}
    assert found == wanted.get(target, set())


# Our server


@pytest.mark.parametrize("target", PLATFORMS)
def test_our_server_fetches_nothing_and_has_no_credentials(target: str) -> None:
    given = {"cluster_storage_secret": "store", "cluster_service_account": "reader"}
    made = rendered(target, spec(0.5, 0.5), **given)
    (deployment,) = objects(made, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    assert "serviceAccountName" not in pod
    (server,) = pod["containers"]
    assert server["args"] == ["serve"]
    assert "models" not in [volume["name"] for volume in pod["volumes"]]
    assert "store" not in json.dumps(deployment)
    assert "without credentials" not in " ".join(made.notes)


def test_an_image_of_its_own_where_model_servers_are_not_ours() -> None:
    made = rendered("seldon2", spec(0.5, 0.5))
    (deployment,) = objects(made, "Deployment")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert server["image"].startswith("wine-mlops:")
    assert any(server["image"] in command for command in made.before_apply)
    # It loads no model.
    assert "scikit-learn" not in made.beside["requirements.txt"]
    assert "with `router_image` of `[cluster]`" in " ".join(made.notes)
    assert "`--image`" not in " ".join(made.notes)
    given = {"cluster_image": "mlserver:1", "cluster_router_image": "registry/router:1"}
    made = rendered("seldon2", spec(0.5, 0.5), **given)
    (deployment,) = objects(made, "Deployment")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert server["image"] == "registry/router:1"


def test_one_image_for_all_where_they_are() -> None:
    made = rendered("kserve", spec(0.5, 0.5))
    (runtime,) = objects(made, "ServingRuntime")
    (deployment,) = objects(made, "Deployment")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert runtime["spec"]["containers"][0]["image"] == server["image"]
    assert "scikit-learn" in made.beside["requirements.txt"]
    assert sum("docker build" in command for command in made.before_apply) == 1


def test_the_image_of_the_model_servers_is_still_looked_at() -> None:
    given = options("seldon2", cluster_router=True)
    deployment = spec(0.5, 0.5)
    with pytest.raises(InvalidInputError, match="cannot be deployed on Seldon Core v2") as caught:
        TARGETS.load("seldon2")().render(deployment, replace(given, details=known(deployment)))
    assert "is kept as skops" in caught.value.message
    TARGETS.load("seldon2")().render(deployment, replace(given, details=known(deployment, OLD)))


@pytest.mark.parametrize(
    ("target", "given", "to", "port"),
    [
        ("kserve", {}, {"podSelector": {}}, 8080),
        ("kserve", {"mode": "knative"}, {"namespaceSelector": {}}, 8081),
        ("seldon", {}, {"podSelector": {}}, 8000),
        ("seldon2", {}, {"podSelector": {}}, 9000),
    ],
)
def test_the_router_calls_the_arms_and_nothing_else(
    target: str, given: dict[str, Any], to: object, port: int
) -> None:
    usual = {"cluster_namespace": "shop"}
    (policy,) = objects(rendered(target, spec(1.0), **usual, **given), "NetworkPolicy")
    names_, arms = policy["spec"]["egress"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert {each["port"] for each in names_["ports"]} == {53, 5353}
    assert arms == {"to": [to], "ports": [{"port": port}]}
    (policy,) = objects(
        rendered(target, spec(1.0), **usual, kubernetes_limit_egress=False, **given),
        "NetworkPolicy",
    )
    assert policy["spec"]["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize("target", ["kserve", "kubernetes"])
def test_egress_reaches_a_server_that_runs_already(target: str) -> None:
    deployment = with_endpoint(spec(1.0), "mlflow+https://models.example.com#token=OTHER_TOKEN")
    made = rendered(target, deployment, cluster_router=target != "kubernetes")
    (policy,) = objects(made, "NetworkPolicy")
    assert policy["spec"]["egress"][-1] == {"ports": [{"port": 443}]}


# Servers that run already


@pytest.mark.parametrize("target", [*PLATFORMS, "kubernetes"])
def test_an_arm_may_be_a_server_that_runs_already(target: str) -> None:
    deployment = with_endpoint(spec(0.5, 0.5), ELSEWHERE)
    made = rendered(target, deployment, cluster_router=target != "kubernetes")
    assert revision(made).arms[2].model == deployment.arms[2].model
    assert len(names(made)) == (0 if target == "kubernetes" else 2)
    (workload,) = objects(made, "Deployment")
    (server,) = workload["spec"]["template"]["spec"]["containers"]
    (token,) = server["env"]
    reference = {"name": "wine-mlops", "key": "OTHER_TOKEN"}
    assert token == {"name": "OTHER_TOKEN", "valueFrom": {"secretKeyRef": reference}}
    assert "the key `OTHER_TOKEN` of the Secret `wine-mlops`" in " ".join(made.notes)


def test_a_platform_must_have_something_to_run() -> None:
    deployment = with_endpoint(spec(1.0), ELSEWHERE)
    deployment = replace(deployment, arms=(replace(deployment.arms[1], weight=1.0),))
    message, hint = refusal("kserve", deployment, cluster_router=True)
    assert "nothing to run" in message
    assert "`--target kubernetes`" in hint
    rendered("kubernetes", deployment)


# What a platform alone refuses


@pytest.mark.parametrize("target", PLATFORMS)
@pytest.mark.parametrize(
    "deployment",
    [
        replace(spec(0.5, 0.5), sticky_by="field:alcohol"),
        replace(spec(0.5, 0.5), policy="thompson"),
        spec(1.0, shadows=(1.0, 0.5)),
        spec(1.0, shadows=(0.0001,)),
        spec(1 - 2e-8, 1e-8, 1e-8),
        with_endpoint(spec(1.0), "seldon+http://other:9000"),
    ],
    ids=["sticky", "policy", "shadows", "small-shadow", "small-share", "endpoint"],
)
def test_refusals_name_the_router_and_it_takes_them(
    target: str, deployment: DeploymentSpec
) -> None:
    _, hint = refusal(target, deployment)
    assert "`--router`" in hint
    rendered(target, deployment)


@pytest.mark.parametrize("target", PLATFORMS)
@pytest.mark.parametrize(
    ("deployment", "given", "fault"),
    [
        (replace(spec(1.0), arms=(replace(spec(1.0).arms[0], model=model(1, "/a")),)), {}, "this"),
        (spec(1.0), {"version": "latest"}, "not a version"),
        (spec(1.0), {"cluster_namespace": "a=b"}, "cannot be the name"),
        (spec(0.5, 0.5, name="w" * 60), {}, "63"),
        (spec(0.5, 0.5, name="3wines"), {}, "a letter"),
        (spec(1.0), {"kubernetes_host": "-"}, "`kubernetes.host` is `-`"),
    ],
    ids=["disk", "version", "namespace", "long", "digit", "host"],
)
def test_what_it_does_not_help_with(
    target: str, deployment: DeploymentSpec, given: dict[str, Any], fault: str
) -> None:
    message, hint = refusal(target, deployment, cluster_router=True, **given)
    assert fault in message
    assert "--router" not in hint
    if not any(key.startswith("kubernetes") for key in given) and deployment.name[0].isalpha():
        assert "--router" not in refusal(target, deployment, **given)[1]
