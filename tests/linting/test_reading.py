"""YAML as Kubernetes reads it."""

from __future__ import annotations

import pytest

from mlops.linting import lint, lint_text
from mlops.linting.documents import UnreadableError, read_documents

WELL = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"


def rules(text: str) -> list[tuple[str, int]]:
    return [(finding.rule, finding.line) for finding in lint_text(text)]


def test_nothing_is_wrong_with_nothing() -> None:
    assert rules("") == rules("---\n---\n") == rules(WELL) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1\nb: 2\n", 2), ("a:\n\t- 1\n", 2), ("%\n", 1), ("a: *nobody\n", 1)],
)
def test_no_yaml(text: str, line: int) -> None:
    assert [(each.rule, each.line) for each in lint({"f": text}, named=["f"])] == [("yaml", line)]


def test_what_cannot_be_read_and_is_no_manifest_is_left_alone() -> None:
    assert rules("values: [1\nmore: 2\n") == []
    assert rules("kind: Pod\nmore: [2\n") == [("yaml", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "kind: Pod\nname: {{ .Values.name }}\n",
        "kind: Pod\n{{- if x }}\nname: a\n{{- end }}\n",
        "kind: Pod\n{% if x %}\nname: a\n{% endif %}\n",
        '{"kind": "Pod", "spec": {\n  "replicas": {{ .Values.replicas }}\n}}',
        "kind: Pod\nimage: {username}/server:1\n",
    ],
)
def test_a_template_is_said_to_be_one(text: str) -> None:
    (finding,) = lint_text(text)
    assert (finding.rule, finding.severity) == ("template", "note")


def test_a_placeholder_may_be_anything() -> None:
    text = (
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
        'metadata: {name: "{{ .Release.Name }}"}\n'
        "spec:\n  predictor:\n    minReplicas: ${REPLICAS}\n"
        "    model: {modelFormat: {name: sklearn}, storageUri: <your model>}\n"
    )
    assert [each for each in lint_text(text) if each.severity == "error"] == []


def test_broken_yaml_is_not_excused_by_a_placeholder() -> None:
    assert rules('kind: Pod\nargs: ["--name={{.Name}}"\nx: 1\n') == [("yaml", 3)]


PATCH = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2, replica: 1}\n"
)


@pytest.mark.parametrize(
    "texts",
    [
        {"k/kustomization.yaml": "patches:\n- path: a.yaml\n", "k/a.yaml": PATCH},
        {"k/kustomization.yaml": "patchesStrategicMerge: [./a.yaml]\n", "k/a.yaml": PATCH},
        {"o/x/kustomization.yml": "patches: [{path: ../p/a.yaml}]\n", "o/p/a.yaml": PATCH},
        {"k/a-patch.yaml": PATCH},
        {"patches/a.yaml": PATCH},
        {"a.yaml": PATCH.replace("{replicas", "{$patch: replace, replicas")},
    ],
)
def test_a_patch_is_checked_for_its_fields_only(texts: dict[str, str]) -> None:
    found = [(each.rule, each.path) for each in lint(texts)]
    assert found == [("partial-object", ""), ("unknown-field", "spec.replica")]


def test_a_kustomization_fills_in_selectors() -> None:
    text = PATCH.replace(", replica: 1", ", template: {spec: {containers: [{name: a}]}}")
    assert [each.path for each in lint({"k/a.yaml": text})] == ["spec"]
    assert lint({"k/kustomization.yaml": "resources: [a.yaml]\n", "k/a.yaml": text}) == []


def test_json_may_have_tabs() -> None:
    text = '{\n\t"apiVersion": "v1",\n\t"kind": "ConfigMap",\n\t"metadata": {"name": "A"}\n}\n'
    assert rules(text) == [("name", 4)]


def test_numbers_are_those_of_kubernetes() -> None:
    """Neither base 60, which YAML 1.1 has and Go does not, nor text for an exponent."""
    (document,) = read_documents(WELL + "data: {a: 12:30:00, b: 1e3, c: 0x10, d: '1e3'}\n", "f")
    assert document.data["data"] == {"a": "12:30:00", "b": 1000.0, "c": 16, "d": "1e3"}


@pytest.mark.parametrize(
    ("version", "kind", "told"),
    [
        ("extensions/v1beta1", "Ingress", "use `networking.k8s.io/v1`"),
        ("policy/v1beta1", "PodSecurityPolicy", "nothing replaces it"),
        ("serving.kubeflow.org/v1beta1", "InferenceService", "KFServing"),
    ],
)
def test_versions_that_are_gone(version: str, kind: str, told: str) -> None:
    (finding,) = lint_text(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert (finding.rule, finding.severity) == ("removed-version", "warning")
    assert told in finding.message


def test_a_large_crd_keeps_the_lines_of_what_follows() -> None:
    crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec:\n"
    crd += "".join(f"  field{number}: {{type: string}}\n" for number in range(300))
    text = f"{crd}---\n{WELL.replace('name: a', 'name: A')}"
    assert rules(text) == [("name", 308)]


def test_a_key_given_twice() -> None:
    text = WELL + "data:\n  x: a\n  y: b\n  x: c\n"
    assert rules(text) == [("repeated-key", 8)]


def test_a_merge_key_may_repeat() -> None:
    text = WELL + "data:\n  <<: &d {x: a}\n  x: b\n"
    assert rules(text) == []


def test_aliases_are_followed_and_do_not_grow_without_end() -> None:
    (document,) = read_documents(WELL + "data: &d {x: a}\nx: *d\n", "f")
    assert document.data["x"] == {"x": "a"}
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    with pytest.raises(UnreadableError, match="without end"):
        read_documents(bomb, "f")
    with pytest.raises(UnreadableError):
        read_documents("a: &a [*a]\n", "f")


@pytest.mark.parametrize("depth", [110, 400, 490, 600, 50_000])
@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_what_is_nested_too_deep_is_not_read(depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    text = f"{WELL}x: {opening * depth}1{closing * depth}\n"
    assert [rule for rule, _ in rules(text)] == ["yaml"]


def test_aliases_do_not_nest_too_deep() -> None:
    chain = "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 400))
    assert [rule for rule, _ in rules(f"{WELL}a0: &a0 [x]\n{chain}")] == ["yaml"]


def test_a_list_is_its_items() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        f"- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: {name}\n"
        for name in ("a", "B")
    )
    assert rules(text) == [("name", 11)]


def test_dates_are_text_as_for_kubernetes() -> None:
    assert rules(WELL + "data:\n  day: 2026-01-01\n") == []


def test_yes_is_a_boolean_as_for_kubernetes() -> None:
    assert rules(WELL + "data:\n  on: 'x'\n  answer: yes\n") == [("wrong-type", 7)]


def test_json_is_yaml() -> None:
    assert rules('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}') == [("name", 1)]


@pytest.mark.parametrize("text", ["just text\n", "- a\n- b\n", "name: x\nvalue: 3\n"])
def test_what_is_no_manifest_is_left_alone(text: str) -> None:
    assert rules(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apiVersion: v1\nmetadata: {name: a}\n", "`kind` is missing"),
        ("apiversion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "`apiVersion` is missing"),
    ],
)
def test_what_was_meant_as_one_is_not(text: str, message: str) -> None:
    (finding,) = lint_text(text)
    assert (finding.rule, finding.severity) == ("no-manifest", "error")
    assert message in finding.message


def test_a_document_beside_manifests_is_one() -> None:
    text = f"{WELL}---\n# nothing\n---\nfoo: 1\n"
    (finding,) = lint_text(text)
    assert (finding.rule, finding.line) == ("not-a-manifest", 8)
    assert finding.message == "this document has no `apiVersion` and `kind`"


@pytest.mark.parametrize(
    ("version", "kind", "hint"),
    [
        ("apps/v1", "Deploymnt", ". Did you mean `Deployment`?"),
        ("v1", "Deployment", ". Did you mean `apps/v1/Deployment`?"),
        ("batch/v1", "Jobb", ". Did you mean `Job`?"),
        ("apps/v1", "InferenceServise", ". Did you mean `InferenceService`?"),
        ("policy/v1", "Xyz", ""),
    ],
)
def test_kubernetes_own_kinds_are_known(version: str, kind: str, hint: str) -> None:
    (finding,) = lint_text(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert (finding.rule, finding.line) == ("unknown-kind", 2)
    assert finding.message == f"`{version}/{kind}` does not exist{hint}"


@pytest.mark.parametrize(
    "kind",
    [
        "v1/Namespace",
        "v1/Config",
        "apps/v1/DaemonSet",
        "batch/v1/CronJob",
        "apps/v1alpha9/Deploymnt",
        "apiextensions.k8s.io/v1/CustomResourceDefinition",
        "cert-manager.io/v1/Certificat",
    ],
)
def test_kinds_without_fields_are_kinds(kind: str) -> None:
    version, _, name = kind.rpartition("/")
    assert rules(f"apiVersion: {version}\nkind: {name}\nmetadata: {{name: a}}\n") == []


def test_kinds_of_others_are_left_alone() -> None:
    assert rules("apiVersion: argoproj.io/v1\nkind: Rollout\nspec: {}\n") == []
    assert rules("apiVersion: v1\nkind: Config\nmetadata: {}\n") == []


def test_a_wrong_type_does_not_stop_the_rest() -> None:
    text = (
        "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\n"
        "metadata: {name: w}\nspec:\n  predictors:\n  - nonsense\n"
        "  - name: 3\n    traffic: many\n    graph: {name: w, children: {}}\n"
    )
    found = rules(text)
    assert found.count(("wrong-type", 6)) == 1
    assert ("wrong-type", 7) in found
    assert ("wrong-type", 8) in found
    assert ("wrong-type", 9) in found
    # The rules have been asked too.
    assert any(rule.startswith("seldon/") for rule, _ in found)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            f"serving.kserve.io/v1alpha{n}/LLMInferenceService{s}"
            for n in (1, 2)
            for s in ("", "Config")
        ),
        "serving.kserve.io/v1alpha1/ClusterStorageContainer",
        "serving.kserve.io/v1alpha1/InferenceGraph",
        "serving.kserve.io/v1alpha1/LocalModelCache",
        "serving.kserve.io/v1alpha1/LocalModelNamespaceCache",
        "serving.kserve.io/v1alpha1/LocalModelNode",
        "serving.kserve.io/v1alpha1/LocalModelNodeGroup",
        "serving.kserve.io/v1alpha1/Predictor",
        "serving.kserve.io/v1alpha1/TrainedModel",
        *(
            f"machinelearning.seldon.io/{v}/SeldonDeployment"
            for v in ("v1", "v1alpha2", "v1alpha3")
        ),
        "mlops.seldon.io/v1alpha1/SeldonConfig",
        "mlops.seldon.io/v1alpha1/SeldonRuntime",
        "mlops.seldon.io/v1alpha1/ServerConfig",
        "batch/v1/CronJob",
        "v1/Pod",
    ],
)
def test_kinds_of_the_platforms_are_checked(kind: str) -> None:
    version, _, name = kind.rpartition("/")
    text = f"apiVersion: {version}\nkind: {name}\nmetadata: {{name: a}}\nspce: {{a: 1}}\n"
    found = lint_text(text)
    assert [each.path for each in found if each.rule == "unknown-field"] == ["spce"]
    assert "unknown-kind" not in [each.rule for each in found]


@pytest.mark.parametrize("memory", ["512Mi", "2G", "1e9", "0.5Gi", 1024, "129M"])
def test_quantities(memory: object) -> None:
    assert quantity(memory) == []


@pytest.mark.parametrize("memory", ["2GB", "512MB", "1 Gi", "lots", "6GiB", ""])
def test_no_quantities(memory: str) -> None:
    assert quantity(memory) == ["spec.predictor.model.resources.limits.memory"]


def quantity(memory: object) -> list[str]:
    text = (
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: a}\n"
        "spec:\n  predictor:\n    model:\n      modelFormat: {name: sklearn}\n"
        f"      storageUri: s3://b/m\n      resources: {{limits: {{memory: {memory!r}}}}}\n"
    )
    return [each.path for each in lint_text(text) if each.rule == "wrong-value"]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("DB_PASSWORD", "hunter2", True),
        ("AWS_SECRET_ACCESS_KEY", "abc", True),
        ("WEBHOOK_SECRET_NAME", "webhook-tls", False),
        ("KAFKA_BROKER_TLS_SECRET_NAME", "kafka", False),
        ("TLS_SECRET", "kafka-tls-secret", False),
        ("ALLOW_EMPTY_PASSWORD", "yes", False),
        ("SELDON_TOKENIZER_TYPE", "simple", False),
        ("ETCD_INITIAL_CLUSTER_TOKEN", "etcd-k8s", False),
        ("GITHUB_TOKEN", "${GITHUB_TOKEN}", False),
    ],
)
def test_names_of_secrets_are_no_secrets(name: str, value: str, found: bool) -> None:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
        f"  - {{name: a, image: 'a:1', env: [{{name: {name}, value: '{value}'}}]}}\n"
    )
    assert [each.rule for each in lint_text(text)] == ["secret-value"] * found
