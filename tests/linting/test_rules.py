"""Every rule finds its bad example, and leaves the good one alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from mlops.linting import RULES, Context, Finding, lint, lint_text
from mlops.linting.lint import errors
from mlops.linting.structure import known_kinds
from tests.linting.example import Example
from tests.linting.examples import EXAMPLES
from tests.linting.manifests import SETS, spoilt

THE_TALK = Path(__file__).with_name("the_talk.yaml")
#: Rules that need text which is no manifest; `test_reading` has their examples.
_TEXT = {
    "yaml", "repeated-key", "no-manifest", "template", "partial-object", "removed-version",
}  # fmt: skip


def found(example: Example, changes: Iterable[tuple[str, object]]) -> list[Finding]:
    context = Context(versions=example.versions, feedback=example.feedback)
    return lint_text(spoilt(example.of, *changes), "x.yaml", context)


def test_every_rule_has_an_example() -> None:
    assert set(EXAMPLES) == set(RULES) - _TEXT


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_bad_example_is_found(rule: str) -> None:
    example = EXAMPLES[rule]
    hits = [each for each in found(example, example.bad) if each.rule == rule]
    assert hits, [each.rule for each in found(example, example.bad)]
    assert hits[0].severity == RULES[rule].severity
    if example.path:
        assert example.path in [hit.path for hit in hits]


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_good_example_is_not(rule: str) -> None:
    example = EXAMPLES[rule]
    if not example.good and example.feedback:
        # Only without feedback is it well.
        example = Example(example.of, ())
    assert rule not in [each.rule for each in found(example, example.good)]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_explains_itself(rule: object) -> None:
    from mlops.linting import Rule

    assert isinstance(rule, Rule)
    assert rule.explanation.endswith((".", ")", '"')), rule.explanation
    assert rule.check.__doc__
    for kind in rule.kinds:
        group, _, name = kind.rpartition("/")
        assert any(k.startswith(group) and k.endswith(f"/{name}") for k in known_kinds()), kind


@pytest.mark.parametrize("name", SETS)
def test_sets_are_well(name: str) -> None:
    versions = {"kserve": "0.21"}
    wrong = lint_text(spoilt(name), name, Context(versions=versions))
    assert [(each.rule, each.path) for each in wrong if each.rule != "kserve/s3-secret"] == []


def test_the_line_is_that_of_the_field() -> None:
    text = spoilt("seldon-one", ("0.spec.predictors.0.graph.modelUri", "gs://b/1"))
    (finding,) = lint_text(text, "x.yaml")
    assert "modelUri: gs://b/1" in text.splitlines()[finding.line - 1]
    assert finding.object == "SeldonDeployment wine"


def test_documents_of_several_files_are_seen_together() -> None:
    experiment, *others = SETS["seldon2"]
    texts = {"a.yaml": yaml.safe_dump(experiment), "b.yaml": yaml.safe_dump_all(others)}
    assert lint(texts) == []
    texts["a.yaml"] = texts["a.yaml"].replace("wine-c", "wine-d")
    assert [(f.rule, f.file) for f in lint(texts)] == [("seldon2/unknown-candidate", "a.yaml")]


def test_the_talk() -> None:
    """The talk's deployment gets what a reviewer who knows all the traps would say."""
    wrong = lint_text(THE_TALK.read_text(), str(THE_TALK), Context(feedback=True))
    assert {(each.rule, each.severity) for each in wrong} == {
        # The point of the talk, and why its rewards meant nothing.
        ("seldon/lost-feedback", "error"),
        ("seldon/zero-reward", "warning"),
        # Each pod builds a conda environment when it starts; its probes are long enough for it.
        ("seldon/stock-server", "warning"),
        ("seldon/anonymous-gs", "warning"),
        # The annotation chose an engine that is gone.
        ("seldon/executor-off", "warning"),
        ("seldon/version-annotation", "warning"),
        ("seldon/api-version", "warning"),
        ("seldon/spec-name", "warning"),
    }
    by_rule = {each.rule: each for each in wrong}
    assert by_rule["seldon/lost-feedback"].line == 12
    assert "half of all rewards are wrong" in by_rule["seldon/lost-feedback"].explanation
    assert [each.rule for each in errors(wrong)] == ["seldon/lost-feedback"]


def test_the_talk_without_feedback() -> None:
    wrong = lint_text(THE_TALK.read_text(), str(THE_TALK))
    assert errors(wrong) == []
    assert "seldon/split-feedback" in {each.rule for each in wrong}


def test_the_talk_on_a_later_seldon() -> None:
    context = Context(versions={"seldon": "1.18.2"})
    wrong = lint_text(THE_TALK.read_text(), str(THE_TALK), context)
    assert "Seldon Core 1.18.2 is under BSL 1.1" in [each.message for each in wrong]
