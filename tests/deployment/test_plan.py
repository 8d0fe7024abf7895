from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.deployment.plan import difference, make_plan
from mlops.deployment.rewarding import settle_reward
from mlops.spec.analysis import Analysis
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import Arm, DeploymentSpec, Shadow
from mlops.spec.model import ModelVersion
from mlops.spec.ramp import Ramp


def model(number: int, ref: str = "wine") -> ModelVersion:
    return ModelVersion(ref, f"wine/{number}", f"/models/{number}", "wine", number, f"run {number}")


AB = DeploymentSpec("wine", (Arm("a", model(1), 0.5), Arm("b", model(2), 0.5)))

SHADOWS: list[tuple[Shadow, ...]] = [
    (),
    (Shadow("s", model(3)),),
    (Shadow("s", model(4)),),
    (Shadow("s", model(3), 0.1), Shadow("t", model(3))),
]


@st.composite
def specs(draw: st.DrawFn) -> DeploymentSpec:
    names = draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]
    versions = [model(draw(st.integers(1, 2)), draw(st.sampled_from("xy"))) for _ in names]
    weights = draw(st.sampled_from([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]))
    return DeploymentSpec(
        "wine",
        tuple(map(Arm, names, versions, weights)),
        sticky_by=draw(st.sampled_from(["", "header:x"])),
        reward=draw(st.sampled_from(["exact", "given"])),
        shadows=draw(st.sampled_from(SHADOWS)),
    )


def meaning(spec: DeploymentSpec) -> object:
    arms = [(arm.name, arm.model.label, arm.model.source, arm.weight) for arm in spec.arms]
    shadows = [(each.name, each.model.source, each.share) for each in spec.shadows]
    return arms, spec.policy, spec.sticky_by, spec.reward, shadows


@given(specs(), specs())
def test_a_difference_is_shown_iff_specs_mean_different_things(
    before: DeploymentSpec, after: DeploymentSpec
) -> None:
    lines = difference(before, after)
    assert all(line[0] in "+-~ " for line in lines)
    changed = any(line[0] != " " for line in lines)
    assert changed == (meaning(before) != meaning(after))
    kind = make_plan(before, after, running=True).kind
    assert kind == ("update" if changed else "nothing")


@given(specs())
def test_every_arm_of_the_new_is_shown_once(after: DeploymentSpec) -> None:
    lines = difference(None, after)
    names = [*(arm.name for arm in after.arms), *(shadow.name for shadow in after.shadows)]
    assert [line.split()[:2] for line in lines][: len(names)] == [["+", name] for name in names]


def test_a_new_deployment_shows_what_was_declared() -> None:
    declared = replace(
        AB,
        reward="exact",
        sticky_by="header:x",
        reward_range=(0.0, 1.0),
        attribution=Attribution(window_s=86400.0, missing=0.0, repeated="last"),
        horizon_days=14.0,
        analysis=Analysis(worth=0.1, guardrails=(("errors", 0.01),)),
        ramp=Ramp((5.0, 100.0)),
    )
    arms = ["+ a  wine/1  50 %", "+ b  wine/2  50 %"]
    assert list(difference(None, AB)) == arms
    assert list(difference(None, declared)) == [
        *arms,
        "+ sticky_by  header:x",
        "+ reward  exact",
        "+ reward_range  0..1",
        "+ feedback  window 1d, missing 0, repeated last",
        "+ ramp  5, 100 % every 30m if not worse",
        "+ horizon  14d",
        "+ worth  0.1",
        "+ guardrails  errors=0.01",
    ]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (replace(AB, arms=(Arm("a", model(1), 0.9), Arm("b", model(2), 0.1))),
         ["~ a  wine/1  90 %  (was 50 %)", "~ b  wine/2  10 %  (was 50 %)"]),
        (replace(AB, arms=(Arm("a", model(3), 0.5), AB.arms[1])),
         ["~ a  wine/3  50 %  (was wine/1, 50 %)", "  b  wine/2  50 %"]),
        (replace(AB, arms=(AB.arms[0], Arm("c", model(2), 0.5))),
         ["  a  wine/1  50 %", "+ c  wine/2  50 %", "- b  wine/2"]),
        (replace(AB, arms=AB.arms[::-1]),
         ["  b  wine/2  50 %", "  a  wine/1  50 %", "~ order of the arms; the baseline is b"]),
        (replace(AB, sticky_by="header:x"),
         ["  a  wine/1  50 %", "  b  wine/2  50 %", "~ sticky_by  header:x  (was none)"]),
        (replace(AB, shadows=(Shadow("s", model(3), 0.1),)),
         ["  a  wine/1  50 %", "  b  wine/2  50 %", "+ s  wine/3  shadow of 10 %"]),
    ],
)  # fmt: skip
def test_how_a_change_reads(after: DeploymentSpec, expected: list[str]) -> None:
    assert list(difference(AB, after)) == expected


def test_the_same_model_by_another_word_is_the_same() -> None:
    other = replace(AB, arms=(Arm("a", model(1, "wine@champion"), 0.5), AB.arms[1]))
    assert make_plan(AB, other, running=True).kind == "nothing"


def test_what_is_as_wanted_but_down_is_started() -> None:
    assert make_plan(AB, AB, running=False).kind == "start"
    assert make_plan(None, AB, running=False).kind == "create"


@pytest.mark.parametrize(("reward", "notes"), [("given", 1), ("exact", 0), ("shop:profit", 0)])
def test_a_guardrail_that_needs_labels_is_noted(reward: str, notes: int) -> None:
    margins = (("squared-error", 0.05), ("errors", 0.01), ("reward", 0.1))
    models = [replace(arm.model, remote="v2+http://host/v2/models/wine") for arm in AB.arms]
    arms = tuple(replace(arm, model=its) for arm, its in zip(AB.arms, models, strict=True))
    spec = replace(AB, arms=arms, reward=reward, analysis=Analysis(guardrails=margins))
    said = [each for each in settle_reward(spec)[1] if "labels" in each]
    assert len(said) == notes
    assert all("`squared-error` needs labels" in each for each in said)


def test_the_plan_names_the_decision_rule_of_a_cost_matrix() -> None:
    costs = (("0", "1", 200.0), ("1", "0", 5000.0))
    unsaid = replace(AB, reward="cost", costs=costs)
    chosen = replace(unsaid, decision_rule="min-cost")
    assert "+ decision rule  most-likely, by default" in difference(None, unsaid)
    assert "+ decision rule  min-cost" in difference(None, chosen)
    changed = "~ decision rule  min-cost  (was most-likely, by default)"
    assert changed in difference(unsaid, chosen)
    assert not [line for line in difference(None, AB) if "decision rule" in line]


def test_probabilities_that_meet_a_cost_matrix_without_a_rule_are_noted(tmp_path: Path) -> None:
    answers = "flavors: {python_function: {predict_fn: predict_proba}}"
    (tmp_path / "MLmodel").write_text(answers)
    folder = ModelVersion("./m", "./m", str(tmp_path))
    costs = (("0", "1", 200.0), ("1", "0", 5000.0))
    spec = DeploymentSpec("wine", (Arm("a", folder, 1.0),), reward="cost", costs=costs)
    (note,) = settle_reward(spec)[1]
    assert "`--decision-rule min-cost`" in note
    assert "predicts `1` above 0.0385" in note
    assert not settle_reward(replace(spec, decision_rule="most-likely"))[1]
    assert not settle_reward(replace(spec, arms=AB.arms))[1]
    # A rule that is then refused is not recommended.
    (note,) = settle_reward(replace(spec, costs=costs[:1]))[1]
    assert "min-cost" not in note
    assert "`--decision-rule threshold=T`" in note
    three = (*costs, ("2", "0", 1.0))
    (note,) = settle_reward(replace(spec, costs=three))[1]
    assert "threshold=T" not in note
    assert "names every confusion allows for a rule of least expected cost" in note
    # What `predict_proba(X)[:, 1]` answers is declared as a number.
    answers = """signature: {outputs: '[{"type": "double"}]'}"""
    (tmp_path / "MLmodel").write_text(answers)
    (note,) = settle_reward(spec)[1]
    assert note.startswith("if these numbers are probabilities, no decision rule is chosen")
