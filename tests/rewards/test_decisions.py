"""What the reward `cost` takes for the prediction of probabilities."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.rewards import Answer, Terms, Value
from mlops.rewards.cost import COST
from mlops.rewards.decisions import cheapest_threshold, predicted_label, read_rule
from mlops.spec.deployment import Arm, DeploymentSpec, from_dict, to_dict
from mlops.spec.model import ModelVersion

CREDIT = (("0", "1", 200.0), ("1", "0", 5000.0))
WINE = ModelVersion("wine", "wine/1", "/models/1")


@pytest.mark.parametrize(
    ("rule", "prediction", "truth", "reward"),
    [
        # 0.05 is above 200 / 5,200, and far below a half.
        ("", [0.95, 0.05], 1, -5000.0),
        ("most-likely", [0.95, 0.05], 1, -5000.0),
        ("min-cost", [0.95, 0.05], 1, 0.0),
        ("min-cost", [0.95, 0.05], 0, -200.0),
        ("min-cost", [0.97, 0.03], 0, 0.0),
        ("threshold=0.2", [0.75, 0.25], 0, -200.0),
        ("threshold=0.2", [0.85, 0.15], 1, -5000.0),
        ("threshold=0.25", [0.75, 0.25], 1, 0.0),
        # One number that is no label is the probability of the second class.
        ("", 0.05, 1, -5000.0),
        ("min-cost", 0.05, 1, 0.0),
        ("min-cost", {"0": 0.95, "1": 0.05}, "1", 0.0),
        # Labels are what was decided already.
        ("min-cost", 0, 1, -5000.0),
        ("threshold=0.2", "1", 0, -200.0),
        ("min-cost", 1.0, 1, 0.0),
    ],
)
def test_the_rule_decides_what_probabilities_cost(
    rule: str, prediction: Answer, truth: Value, reward: float
) -> None:
    assert COST(prediction, truth, Terms.of(costs=CREDIT, rule=rule)) == reward


@given(
    p=st.floats(0, 1), alarm=st.floats(0.1, 100), miss=st.floats(0.1, 100), right=st.floats(-5, 5)
)
def test_the_least_expected_cost_of_two_classes_is_a_threshold(
    p: float, alarm: float, miss: float, right: float
) -> None:
    """Elkan 2001: p* = (c10 - c00) / (c10 - c00 + c01 - c11)."""
    costs = [("n", "y", right + alarm), ("y", "n", right + miss), ("n", "n", right),
             ("y", "y", right)]  # fmt: skip
    terms = Terms.of(("n", "y"), costs, "min-cost")
    cut = alarm / (alarm + miss)
    if abs(p - cut) > 1e-6:
        assert predicted_label([1 - p, p], terms) == ("y" if p > cut else "n")
    found = cheapest_threshold(terms.costs)
    assert found is not None
    assert found[1] == pytest.approx(min(cut, 1 - cut))


def test_no_rule_is_cheaper_than_the_least_expected_cost() -> None:
    rng = np.random.default_rng(3)
    costs = [(f"{t}", f"{a}", float(10 * rng.random())) for t in range(3) for a in range(3)]
    chances = rng.dirichlet(np.ones(3), 4000)
    truths = [int(rng.choice(3, p=row)) for row in chances]
    mean = {
        rule: np.mean([COST(row.tolist(), truth, Terms.of((), costs, rule))
                       for row, truth in zip(chances, truths, strict=True)])
        for rule in ("min-cost", "most-likely")
    }  # fmt: skip
    assert mean["min-cost"] > mean["most-likely"]


def test_a_rule_says_where_it_cannot_decide() -> None:
    three = [0.2, 0.3, 0.5]
    with pytest.raises(ValueError, match="between two classes"):
        COST(three, 1, Terms.of(costs=CREDIT, rule="threshold=0.1"))
    with pytest.raises(ValueError, match="the cost matrix names"):
        COST(three, 1, Terms.of(costs=CREDIT, rule="min-cost"))
    with pytest.raises(ValueError, match="prediction is a list of 2, truth is a number"):
        COST([3.0, 4.0], 1, Terms.of(costs=CREDIT, rule="min-cost"))


@pytest.mark.parametrize("text", ["cheapest", "threshold", "threshold=0", "threshold=1", "0.04",
                                  "threshold=x", "threshold=nan"])  # fmt: skip
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be `most-likely`, `min-cost` or `threshold=T`"):
        read_rule(text)


def test_another_rule_is_another_experiment_and_an_older_revision_keeps_its_own() -> None:
    spec = DeploymentSpec("wine", (Arm("a", WINE, 1.0),), reward="cost", costs=CREDIT)
    said = {rule: replace(spec, decision_rule=rule) for rule in ("most-likely", "min-cost")}
    assert said["most-likely"].experiment == spec.experiment
    assert said["min-cost"].experiment != spec.experiment
    written = json.loads(json.dumps(to_dict(said["min-cost"])))
    assert from_dict(written) == said["min-cost"]
    del written["decision_rule"]
    assert from_dict(written).decides_by == "most-likely"
