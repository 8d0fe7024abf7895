"""What platforms accept gets no error, and no warning about what cannot be known."""

from __future__ import annotations

import pytest

from mlops.linting import lint, lint_text

_ISVC = (
    "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: a}\n"
    "spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: %s}}}\n"
)
_MODEL = (
    "apiVersion: mlops.seldon.io/v1alpha1\nkind: Model\nmetadata: {name: a}\n"
    "spec: {storageUri: %s, requirements: [%s], memory: 1Mi}\n"
)
_SDEP = (
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {AWS_ACCESS_KEY_ID: a}\n---\n"
    "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\nmetadata: {name: a}\n"
    "spec:\n  predictors:\n  - name: a\n    graph: {name: a, implementation: SKLEARN_SERVER, "
    "modelUri: 's3://b/m', envSecretRefName: s%s}\n"
)


def found(text: str) -> set[str]:
    return {each.rule for each in lint_text(text)}


@pytest.mark.parametrize(
    "scheme", ["gs", "s3", "pvc", "hf", "https", "oci", "oci+fetch", "oci+native", "oci+modelcar"]
)
def test_schemes_of_kserve(scheme: str) -> None:
    assert "kserve/storage-scheme" not in found(_ISVC % f"{scheme}://a/b")


@pytest.mark.parametrize("uri", ["/mnt/models/iris", "/var/models", "gs://b/m"])
def test_seldon_2_has_local_models(uri: str) -> None:
    assert found(_MODEL % (uri, "sklearn")) == set()


def test_capabilities_of_servers_elsewhere_are_unknown() -> None:
    assert found(_MODEL % ("gs://b/m", "our-gpu-server")) == set()
    assert found(_MODEL % ("gs://b/m", "sklaern")) == {"seldon2/capability"}


def test_the_initializer_of_kfserving_has_keys_of_its_own() -> None:
    assert "seldon/rclone-remote" in found(_SDEP % "")
    image = ", storageInitializerImage: 'kfserving/storage-initializer:v0.6.1'"
    assert "seldon/rclone-remote" not in found(_SDEP % image)


def test_a_service_may_select_one_pod_of_a_set() -> None:
    text = (
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n"
        "  selector: {matchLabels: {app: db}}\n  serviceName: db\n  template:\n"
        "    metadata: {labels: {app: db}}\n    spec: {containers: [{name: db, image: 'db:1'}]}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: db-0}\nspec:\n"
        "  ports: [{port: 1}]\n  selector: {app: db, statefulset.kubernetes.io/pod-name: db-0}\n"
    )
    assert found(text) == set()
    assert found(text.replace("app: db, state", "app: bd, state")) == {
        "kubernetes/service-selector"
    }


def test_roles_may_have_colons_in_their_names() -> None:
    text = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s}\n"
    assert found(text % "system:reader") == set()
    assert found(text % "system/reader") == {"name"}


def test_the_same_object_may_be_in_files_of_two_environments() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    assert (
        lint({"staging/a.yaml": text, "production/a.yaml": text, "production/b.yaml": text}) == []
    )
    assert [each.rule for each in lint({"a.yaml": f"{text}---\n{text}"})] == ["repeated-object"]


def test_go_templates_in_arguments_are_text() -> None:
    text = (
        "apiVersion: serving.kserve.io/v1alpha1\nkind: ServingRuntime\nmetadata: {name: a}\nspec:\n"
        "  supportedModelFormats: [{name: sklearn}]\n  containers:\n"
        '  - {name: kserve-container, image: "a:1", args: ["--model_name={{.Name}}"], imge: b}\n'
    )
    assert [each.path for each in lint_text(text)] == ["spec.containers[0].imge"]
