"""YAML as Kubernetes reads it."""

from __future__ import annotations

import pytest

from mlops.linting import lint_text
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
    assert rules(text) == [("yaml", line)]


def test_a_template_is_said_to_be_one() -> None:
    (finding,) = lint_text("name: {{ .Values.name }}\n{{- if x }}\n")
    assert "render it first" in finding.message


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
        ("apiVersion: v1\nmetadata: {name: a}\n", "it has no `kind`"),
        ("apiversion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "it has no `apiVersion`"),
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
    assert finding.message == f"there is no `{version}/{kind}`{hint}"


@pytest.mark.parametrize(
    "kind",
    [
        "v1/Namespace",
        "v1/Config",
        "apps/v1/DaemonSet",
        "batch/v1/CronJob",
        "apps/v1beta1/Deploymnt",
        "rbac.authorization.k8s.io/v1/RoleBinding",
        "cert-manager.io/v1/Certificat",
    ],
)
def test_kinds_without_fields_are_kinds(kind: str) -> None:
    version, _, name = kind.rpartition("/")
    assert rules(f"apiVersion: {version}\nkind: {name}\nmetadata: {{name: a}}\n") == []


def test_kinds_of_others_are_left_alone() -> None:
    assert rules("apiVersion: argoproj.io/v1\nkind: Rollout\nspec: {}\n") == []
    assert rules("apiVersion: v1\nkind: Pod\nmetadata: {}\n") == []


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
