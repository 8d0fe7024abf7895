"""Addresses of this machine in what pods call: they are the pod itself there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from mlops.deployment.manifests import render_checked
from mlops.deployment.targets import TARGETS
from mlops.errors import InvalidInputError
from mlops.linting import lint, lint_text
from tests.deployment.matrix import options
from tests.deployment.specs import from_sources, spec, with_endpoint

_ITSELF = "which in a pod is the pod itself"
_ARTIFACTS = "mlflow-artifacts:/1/models/m-1/artifacts"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
def test_pods_do_not_fetch_models_from_themselves(host: str) -> None:
    given = replace(options(), tracking_uri=f"http://{host}:5755")
    with pytest.raises(InvalidInputError) as caught:
        TARGETS.load("kubernetes")().check(from_sources(_ARTIFACTS), given)
    assert f"MLflow is `http://{host}:5755`, {_ITSELF}." in caught.value.message
    assert caught.value.hint == "Use the address that it has in the cluster."
    # Models of a store are not fetched through it.
    TARGETS.load("kubernetes")().check(spec(1.0), given)


@pytest.mark.parametrize("target", ["kubernetes", "kserve", "seldon", "seldon2"])
def test_a_store_that_is_forwarded_to_this_machine_is_noted(target: str) -> None:
    given = replace(options(), endpoint_url="http://localhost:9000")
    first, *_ = render_checked(target, spec(1.0), given).notes
    assert f"The artifact store is `http://localhost:9000`, {_ITSELF}." in first


def test_no_rule_of_the_policy_leads_to_the_pod_itself() -> None:
    given = replace(
        options("kubernetes", cluster_storage_secret="s3"), endpoint_url="http://127.0.0.1:9000"
    )
    made = render_checked(
        "kubernetes", with_endpoint(spec(1.0), "v2+http://[::1]:8080/v2/models/m"), given
    )
    policy = yaml.safe_load(made.files["networkpolicy.yaml"])
    assert "ipBlock" not in str(policy["spec"]["egress"])
    assert {"ports": [{"port": 9000}]} in policy["spec"]["egress"]
    assert "which in a pod is the pod itself. Use the address" in "".join(made.notes)


def _sink(to: str, **more: Any) -> str:
    return json.dumps({"name": "lake", "kind": "kafka", "to": to, "options": more})


def test_the_journal_and_sinks_are_noted() -> None:
    given = replace(
        options("kubernetes", postgresql=True),
        journal_url="postgresql://localhost/wine",
        sinks=(_sink("kafka:9092,localhost:9092"), _sink("s3://b", endpoint_url="http://[::1]:1")),
    )
    made = render_checked("kubernetes", spec(1.0), given)
    told = "\n".join(made.notes)
    for what in (
        "The journal is `postgresql://localhost/wine`",
        "The sink `lake` is `localhost:9092`",
        "The sink `lake` is `http://[::1]:1`",
    ):
        assert f"{what}, {_ITSELF}." in told
    assert "a sidecar listens there" in told
    # `lint` says so of what is rendered.
    assert "kubernetes/loopback" in {each.rule for each in lint(made.files)}
    # KServe's own pods have neither.
    assert _ITSELF not in "".join(render_checked("kserve", spec(1.0), given).notes)


def test_lint_finds_the_pod_itself_but_no_sidecar() -> None:
    container = {
        "name": "web",
        "image": "web:1",
        "env": [{"name": "EVENTS", "value": "http://localhost:3500/v1"}],
    }
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [container]},
    }

    def found() -> list[str]:
        return [each.path for each in lint_text(yaml.safe_dump(pod))]

    assert found() == ["spec.containers[0].env[0].value"]
    sidecar = {"name": "dapr", "image": "dapr:1", "ports": [{"containerPort": 3500}]}
    pod["spec"]["containers"].append(sidecar)
    assert found() == []
    container["env"] = [{"name": "EVENTS", "value": "http://localhost:3501/v1"}]
    container["ports"] = [{"containerPort": 80}]
    assert found() == ["spec.containers[0].env[0].value"]


def test_lint_finds_a_policy_that_lets_pods_call_themselves() -> None:
    policy = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: wine}\nspec:\n"
        "  podSelector: {}\n  policyTypes: [Egress]\n"
        "  egress: [{to: [{ipBlock: {cidr: 127.0.0.1/32}}], ports: [{port: 5755}]}]\n"
    )
    assert [(each.rule, each.path) for each in lint_text(policy)] == [
        ("kubernetes/loopback", "spec.egress[0].to[0].ipBlock.cidr")
    ]
