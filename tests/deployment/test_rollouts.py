"""`--with rollouts`: how Argo Rollouts and Flagger are told to read the verdict."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mlops.deployment.targets import TARGETS
from mlops.deployment.targets.kubernetes import Kubernetes
from mlops.errors import InvalidInputError
from tests.deployment.matrix import options
from tests.deployment.specs import spec


def rendered(**given: Any) -> dict[str, Any]:
    made = Kubernetes().render(
        spec(0.95, 0.05), options("kubernetes", cluster_extras=("rollouts",), **given)
    )
    assert not {"analysistemplate.yaml", "metrictemplate.yaml"} & made.files.keys()
    return {
        name: yaml.safe_load(made.beside[name])
        for name in ("analysistemplate.yaml", "metrictemplate.yaml")
    }


def test_argo_is_told_where_the_numbers_are() -> None:
    template = rendered(cluster_namespace="shop", key_secret="keys")["analysistemplate.yaml"]
    assert (template["apiVersion"], template["kind"]) == (
        "argoproj.io/v1alpha1", "AnalysisTemplate",
    )  # fmt: skip
    (token,) = template["spec"]["args"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "keys", "key": "token"}
    guardrails, verdict = template["spec"]["metrics"]
    for metric, path in ((guardrails, "{$}"), (verdict, "{$.result}")):
        web = metric["provider"]["web"]
        name = template["metadata"]["name"]
        assert web["url"] == f"http://{name}.shop.svc/verdict.json"
        assert web["jsonPath"] == path
        # Argo puts the argument in, not our templates.
        assert web["headers"] == [{"key": "Authorization", "value": "Bearer {{args.token}}"}]
        # Each ends with its first success, and is asked again while it is inconclusive.
        assert (metric["consecutiveSuccessLimit"], metric["failureLimit"]) == (1, 0)
        assert metric["inconclusiveLimit"] == 100_000
    conditions = [
        (each["successCondition"], each["failureCondition"]) for each in (guardrails, verdict)
    ]
    assert conditions == [
        ("result.finished != nil", "result.guardrails < 0"),
        ("result > 0", "result < 0"),
    ]


def test_without_keys_no_token_is_sent() -> None:
    template = rendered(insecure_no_auth=True)["analysistemplate.yaml"]
    assert "args" not in template["spec"]
    assert all("headers" not in each["provider"]["web"] for each in template["spec"]["metrics"])


def test_flagger_asks_prometheus() -> None:
    template = rendered(monitoring_prometheus="http://prom:9090")["metrictemplate.yaml"]
    assert (template["apiVersion"], template["kind"]) == ("flagger.app/v1beta1", "MetricTemplate")
    assert template["spec"]["provider"] == {"type": "prometheus", "address": "http://prom:9090"}
    name = template["metadata"]["name"]
    assert template["spec"]["query"] == f'min(mlops_guardrails{{deployment="{name}"}})'


@pytest.mark.parametrize("target", ["kserve", "seldon", "seldon2"])
def test_a_platform_without_our_server_has_no_verdict(target: str) -> None:
    given = options(target, cluster_extras=("rollouts",))
    with pytest.raises(InvalidInputError, match="counts neither rewards"):
        TARGETS.load(target)().render(spec(0.5, 0.5), given)
