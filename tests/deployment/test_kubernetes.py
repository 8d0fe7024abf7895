"""The target of our own server on plain Kubernetes, and its image."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.deployment.manifests import render_options
from mlops.deployment.targets.base import Rendered, RenderOptions
from mlops.deployment.targets.kubernetes import Kubernetes
from mlops.deployment.targets.names import labels_of
from mlops.deployment.targets.own_image import DOCKERFILE, REQUIREMENTS, own_image
from mlops.errors import InvalidInputError
from mlops.serving.pod import read_config
from mlops.settings import load_settings
from mlops.spec.deployment import DeploymentSpec
from tests.deployment.matrix import options
from tests.deployment.specs import details, known, model, ramped, spec
from tests.requirements import require


def rendered(deployment: DeploymentSpec, **given: Any) -> Rendered:
    return Kubernetes().render(deployment, options("kubernetes", **given))


def objects(made: Rendered) -> dict[str, Any]:
    found = [yaml.safe_load(text) for text in made.files.values()]
    return {document["kind"]: document for document in found}


def pod_of(made: Rendered) -> Any:
    return objects(made)["Deployment"]["spec"]["template"]["spec"]


# One pod or many


def test_without_postgresql_one_pod_is_replaced_and_it_says_why() -> None:
    made = rendered(spec(0.5, 0.5))
    kinds = objects(made)
    assert kinds["Deployment"]["spec"]["replicas"] == 1
    assert kinds["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    assert "HorizontalPodAutoscaler" not in kinds
    assert "PersistentVolumeClaim" in kinds
    assert "two pods cannot share it" in " ".join(made.notes)
    assert "two pods cannot share" in made.files["deployment.yaml"]


def test_with_postgresql_it_rolls_and_scales() -> None:
    made = rendered(spec(0.5, 0.5), postgresql=True, replicas=3, max_replicas=4)
    kinds = objects(made)
    assert "replicas" not in kinds["Deployment"]["spec"]
    assert kinds["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 3
    assert kinds["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 4
    assert "PersistentVolumeClaim" not in kinds
    (server,) = pod_of(made)["containers"]
    (url,) = server["env"]
    assert url["valueFrom"]["secretKeyRef"] == {"name": "wine-journal", "key": "url"}


# Security


def test_it_runs_as_anybody_on_a_root_that_cannot_be_written() -> None:
    pod = pod_of(rendered(spec(1.0)))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["initContainers"], *pod["containers"]):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"] == {"memory": "1Gi", "ephemeral-storage": "4Gi"}
    on_disk = [each["emptyDir"] for each in pod["volumes"] if "emptyDir" in each]
    assert all("sizeLimit" in each for each in on_disk)


def test_openshift_chooses_the_group_itself() -> None:
    assert pod_of(rendered(spec(1.0)))["securityContext"]["fsGroup"] == 10001
    chosen = pod_of(rendered(spec(1.0), mode="openshift"))["securityContext"]
    assert not {"fsGroup", "runAsUser", "runAsGroup"} & chosen.keys()


def test_the_network_policy_lets_the_gateway_in() -> None:
    made = rendered(
        spec(1.0), host="w.example.com", gateway="edge/public", allow_from=("monitoring",)
    )
    (rule,) = objects(made)["NetworkPolicy"]["spec"]["ingress"]
    namespaces = [
        each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for each in rule["from"][1:]
    ]
    assert namespaces == ["edge", "monitoring"]


def called(made: Rendered) -> list[Any]:
    """Return the rules of the policy's egress, without the one for DNS."""
    rules: list[Any] = objects(made)["NetworkPolicy"]["spec"]["egress"][1:]
    return rules


def within(namespace: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def at(*ports: int) -> list[dict[str, Any]]:
    return [{"ports": [{"port": port}]} for port in ports]


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ({}, at(443)),
        ({"cluster_storage_secret": "s3"}, at(443, 9000)),
        ({"endpoint_url": "http://minio.store.svc:9000"}, [{"to": [within("store")]}]),
        ({"endpoint_url": "https://minio.example.com:9443"}, at(9443)),
        (
            {"endpoint_url": "http://10.1.2.3:9000"},
            [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 9000}]}],
        ),
        ({"postgresql": True}, at(443, 5432)),
        (
            {"allow_to": ("6432", "kafka:9092", "10.0.0.0/8")},
            [
                *at(443, 6432),
                {"to": [within("kafka")], "ports": [{"port": 9092}]},
                {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
            ],
        ),
    ],
)
def test_the_pods_call_what_they_need_and_no_more(given: dict[str, Any], rules: list[Any]) -> None:
    url = given.pop("endpoint_url", "")
    chosen = replace(options("kubernetes", **given), endpoint_url=url)
    made = Kubernetes().render(spec(1.0), chosen)
    assert called(made) == rules
    assert "and nothing else" in " ".join(made.notes)


def test_the_store_of_google_and_the_tracking_server() -> None:
    def rules(source: str, **given: Any) -> list[Any]:
        (arm,) = spec(1.0).arms
        deployment = replace(spec(1.0), arms=(replace(arm, model=model(1, source)),))
        chosen = replace(options("kubernetes", **given), tracking_uri="http://mlflow.shop:5000")
        return called(Kubernetes().render(deployment, chosen))

    *_, named, metadata = rules("gs://b/m", cluster_service_account="reader")
    assert named["to"] == [{"ipBlock": {"cidr": "169.254.169.252/32"}}]
    assert metadata["ports"] == [{"port": 80}]
    # A Service with its namespace, or a host of the world: the name does not say.
    assert rules("mlflow-artifacts:/1/m") == [{"to": [within("shop")]}, *at(5000)]


def test_egress_is_open_where_somebody_wants_it() -> None:
    made = rendered(spec(1.0), limit_egress=False)
    assert objects(made)["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress"]
    assert "and nothing else" not in " ".join(made.notes)


def test_models_that_would_fill_the_disk_are_refused() -> None:
    deployment = spec(0.5, 0.5)
    large = replace(details(), size_bytes=3 * 2**30)
    given = replace(options("kubernetes"), details=known(deployment, large))
    with pytest.raises(InvalidInputError, match=r"6\.0 GiB.*ephemeral_storage` is `4Gi`"):
        Kubernetes().render(deployment, given)
    roomy = options("kubernetes", cluster_ephemeral_storage="16Gi")
    Kubernetes().render(deployment, replace(roomy, details=given.details))


# The revision


def test_the_pod_reads_the_revision_it_was_rendered_from(tmp_path: Path) -> None:
    deployment = replace(spec(0.5, 0.5, shadows=(0.2,)), sticky_by="header:X-Customer")
    given = replace(options(), revision=7, features=("alcohol",))
    text = Kubernetes().render(deployment, given).files["configmap.yaml"]
    (tmp_path / "revision.json").write_text(yaml.safe_load(text)["data"]["revision.json"])
    read = read_config(tmp_path)
    assert read.revision.spec == deployment
    assert (read.revision.number, read.features) == (7, ("alcohol",))


def test_a_cost_matrix_that_fits_into_no_config_map_is_refused() -> None:
    classes = [f"class-{number:03}" for number in range(260)]
    costs = tuple((truth, prediction, 1.5) for truth in classes for prediction in classes)
    with pytest.raises(InvalidInputError, match="a cost matrix of 67,600 costs") as caught:
        Kubernetes().render(replace(spec(1.0), reward="cost", costs=costs), RenderOptions())
    assert "`reward: given`" in (caught.value.hint or "")
    # A third of it, which fits as it is written without spaces.
    fits = replace(spec(1.0), reward="cost", costs=costs[: len(costs) // 3])
    text = Kubernetes().render(fits, RenderOptions()).files["configmap.yaml"]
    assert len(text) < 1024 * 1024
    document = json.loads(yaml.safe_load(text)["data"]["revision.json"])
    assert len(document["spec"]["costs"]) == len(fits.costs)


def test_arms_that_differ_in_spelling_have_one_name_each_whatever_their_order() -> None:
    arms = [replace(arm, weight=0.5) for arm in spec(0.5, 0.5).arms]
    odd, plain = replace(arms[0], name="Old_Model.v1"), replace(arms[1], name="old-model-v1")
    for order in ((odd, plain), (plain, odd)):
        given = DeploymentSpec("wine", order)
        assert labels_of(given) == {
            "Old_Model.v1": "old-model-v1-2",
            "old-model-v1": "old-model-v1",
        }
        notes = "\n".join(Kubernetes().render(given, RenderOptions()).notes)
        assert "`Old_Model.v1` is called `old-model-v1-2` in the cluster" in notes
    assert "in the cluster, as" not in "\n".join(
        Kubernetes().render(spec(0.5, 0.5), RenderOptions()).notes
    )


def test_an_ingress_has_a_certificate_or_it_is_said() -> None:
    for secret in ("", "wine-tls"):
        given = options("kubernetes", host="wine.example.com", tls_secret=secret)
        made = Kubernetes().render(spec(1.0), given)
        tls = yaml.safe_load(made.files["ingress.yaml"])["spec"].get("tls")
        assert tls == ([{"hosts": ["wine.example.com"], "secretName": secret}] if secret else None)
        assert any("travel in the clear" in note for note in made.notes) == (not secret)


def test_the_endpoint_of_the_environment_is_in_the_network_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("MLOPS_ARTIFACTS_ROOT", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://minio.storage:9123")
    given = render_options(load_settings(tmp_path))
    made = Kubernetes().render(spec(1.0), given)
    assert "port: 9123" in made.files["networkpolicy.yaml"]


def test_who_moves_a_ramp_is_said() -> None:
    canary = ramped(spec(0.95, 0.05), auto=True)
    applied = "\n".join(Kubernetes().render(canary, RenderOptions()).notes)
    assert "Run `mlops ramp wine --url URL` on a schedule" in applied
    rendered = "\n".join(Kubernetes().render(canary, RenderOptions(in_ledger=False)).notes)
    assert "not files that are only rendered" in rendered
    # Which a person, or a schedule, moves.
    by_hand = Kubernetes().render(ramped(spec(0.95, 0.05)), RenderOptions())
    assert "schedule" not in "\n".join(by_hand.notes)


def test_a_config_map_is_named_after_its_content() -> None:
    names = {
        objects(rendered(deployment))["ConfigMap"]["metadata"]["name"]
        for deployment in (spec(0.5, 0.5), spec(0.5, 0.5), spec(0.9, 0.1))
    }
    assert len(names) == 2
    made = rendered(spec(0.5, 0.5))
    (volume,) = [v for v in pod_of(made)["volumes"] if v["name"] == "revision"]
    assert volume["configMap"]["name"] == objects(made)["ConfigMap"]["metadata"]["name"]
    assert objects(made)["ConfigMap"]["immutable"] is True


# Refusals


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"mode": "rancher"}, "no mode `rancher`"),
        ({"volume": "lots"}, "`kubernetes.volume` is `lots`"),
        ({"gateway": "public"}, "`kubernetes.gateway` is `public`"),
        ({"gateway": "edge/public"}, "a Gateway is named and no host"),
        ({"tls_secret": "wine-tls"}, "is the certificate of an Ingress, and there is none"),
        ({"host": "-"}, "`kubernetes.host` is `-`"),
        ({"replicas": 5, "max_replicas": 2}, "is 5, more than the 2"),
        ({"cluster_memory": "1 GB"}, "`cluster.memory` is `1 GB`"),
        ({"cluster_model_server": "mlserver"}, "has no router"),
        ({"key_secret": "x=y"}, "cannot be the name"),
        ({"allow_to": ("kafka.example.com",)}, "`kubernetes.allow_to` has `kafka.example.com`"),
        ({"allow_to": ("99999",)}, "`kubernetes.allow_to` has `99999`"),
        ({"cluster_ephemeral_storage": "much"}, "`cluster.ephemeral_storage` is `much`"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be deployed on Kubernetes") as caught:
        rendered(spec(1.0), **given)
    assert fault in caught.value.message
    assert caught.value.hint


def test_names_that_fit_into_no_annotation_are_refused() -> None:
    """An annotation's name has 63 characters at most, and an arm's own name may have more."""
    for length, fits in ((59, True), (60, False)):
        first, second = spec(0.5, 0.5).arms
        long = replace(spec(0.5, 0.5), arms=(replace(first, name="a" * length), second))
        if fits:
            (manifest,) = yaml.safe_load_all(
                Kubernetes().render(long, options("kubernetes")).files["deployment.yaml"]
            )
            names = [key.partition("/")[2] for key in manifest["metadata"]["annotations"]]
            assert max(map(len, names)) == 63
        else:
            with pytest.raises(InvalidInputError, match="more than the 59 characters"):
                Kubernetes().check(long, options("kubernetes"))


def test_artifacts_of_a_server_the_pods_can_reach() -> None:
    source = "mlflow-artifacts:/1/models/m-1/artifacts"
    deployment = replace(spec(1.0), arms=(replace(spec(1.0).arms[0], model=model(1, source)),))
    given = replace(options(), tracking_uri="http://mlflow.shop:5000")
    (fetch,) = pod_of(Kubernetes().render(deployment, given))["initContainers"]
    assert fetch["env"] == [{"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.shop:5000"}]
    with pytest.raises(InvalidInputError, match="by MLflow only"):
        Kubernetes().render(deployment, options())


def test_the_api_keys_of_this_machine_get_their_secret() -> None:
    made = Kubernetes().render(spec(1.0), replace(options(), keys_file="/my shop/wine.keys"))
    (command,) = (each for each in made.before_apply if "wine-keys" in each)
    assert "--from-file=keys.json='/my shop/wine.keys'" in command
    named = replace(options("kubernetes", keys_secret="ours"), keys_file="/shop/wine.keys")
    assert "keys.json" not in " ".join(Kubernetes().render(spec(1.0), named).before_apply)


def test_no_command_carries_a_secret() -> None:
    made = rendered(spec(1.0), postgresql=True)
    assert len(made.before_apply) == 3
    assert all("from-literal" not in command for command in made.before_apply)


def test_a_deployment_that_was_on_this_machine_keeps_its_key() -> None:
    made = Kubernetes().render(spec(1.0), replace(options(), key_file="/my shop/wine.key"))
    (command,) = (each for each in made.before_apply if "create secret" in each)
    assert "--from-file=request-id-key='/my shop/wine.key' --from-file=token=<(" in command


# The image


def image(*of: Any, postgresql: bool = False) -> tuple[str, str, str]:
    deployment = spec(*[1 / len(of)] * len(of))
    given = replace(
        RenderOptions(postgresql=postgresql),
        details={arm.name: each for arm, each in zip(deployment.arms, of, strict=True)},
    )
    made = own_image(deployment, given)
    return made.files[DOCKERFILE], made.files[REQUIREMENTS], " ".join(made.notes)


def test_the_image_has_what_the_models_were_trained_with() -> None:
    dockerfile, requirements, notes = image(details())
    assert "FROM docker.io/library/python:3.11-slim AS build" in dockerfile
    assert "scikit-learn==1.8.0\n" in requirements
    assert requirements.splitlines()[1].startswith("mlops-loop==")
    assert "mlops-loop[postgres]==" in image(details(), postgresql=True)[1]
    assert "--image" in notes


def test_what_a_package_only_tries_to_import_is_not_in_the_image() -> None:
    listed = ("pytest==9.0.0", "scikit-learn==1.8.0")
    _, requirements, _ = image(details(requirements=listed))
    assert "pytest==" not in requirements
    assert "# pytest is left out: scikit-learn imports it" in requirements
    # Of a model of no such package it may be the model's own.
    assert "pytest==9.0.0\n" in image(details(requirements=listed[:1]))[1]


def test_of_two_versions_the_newer_is_installed_and_it_is_said() -> None:
    _, requirements, notes = image(
        details(), details(requirements=("scikit-learn==1.7.0", "scikit_learn==1.7.0"))
    )
    assert requirements.count("scikit") == 1
    assert "scikit-learn==1.8.0\n" in requirements
    assert "`scikit-learn==1.7.0`" in notes


@pytest.mark.parametrize(
    ("pythons", "chosen"), [(("3.10.4",), "3.11"), (("3.12.1", "3.11.7"), "3.12")]
)
def test_python_is_the_newest_one(pythons: tuple[str, ...], chosen: str) -> None:
    dockerfile, _, notes = image(*(details(python=python) for python in pythons))
    assert f"python:{chosen}-slim" in dockerfile
    assert f"The image runs Python {chosen}" in notes


def test_a_version_cannot_write_into_the_dockerfile() -> None:
    dockerfile, _, _ = image(details(python="3.11\nRUN rm -rf /"))
    assert "rm -rf /\n" not in dockerfile.replace("rm -rf /var", "")


@pytest.mark.parametrize("requirement", ["scikit-learn==1.8.0", "lightgbm==4.5.0"])
def test_the_dockerfile_lints(requirement: str, tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(__import__("sys").executable).parent))
    require("hadolint", hadolint, "hadolint is not installed here")
    assert hadolint is not None
    dockerfile, _, _ = image(details(requirements=(requirement,)))
    (tmp_path / "Dockerfile").write_text(dockerfile)
    said = subprocess.run(
        [hadolint, "--format", "json", str(tmp_path / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(said.stdout) == []
    assert ("libgomp1" in dockerfile) == requirement.startswith("lightgbm")


def test_the_tag_changes_with_the_content_only() -> None:
    deployment = spec(0.5, 0.5)

    def tag(**given: Any) -> str:
        return own_image(deployment, replace(RenderOptions(), **given)).name

    assert tag() == tag()
    assert tag(details=known(deployment)) != tag()
