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
from mlops.rewards.decisions import (
    cheapest_threshold,
    missing_costs,
    predicted_label,
    read_rule,
    unnamed_note,
)
from mlops.rewards.probabilities import is_probability
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


ONE_TWO = (("1", "2", 1.0), ("2", "1", 5.0))


@pytest.mark.parametrize(
    ("classes", "costs", "prediction", "is_it"),
    [
        # What `predict_proba(X)[:, 1]` answers, certain ones too.
        ((1, 2), ONE_TWO, 0.98, True),
        ((1, 2), ONE_TWO, 1.0, True),
        ((1, 2), ONE_TWO, 0.0, True),
        ((-1, 1), (), 1.0, True),
        (("ham", "spam"), (), 1.0, True),
        # What `predict` answers.
        ((1, 2), ONE_TWO, 1, False),
        ((1, 2), ONE_TWO, 2, False),
        ((-1, 1), (), 1, False),
        ((1.0, 2.0), ONE_TWO, 1.0, False),
        ((1.0, 2.0), ONE_TWO, 0.98, True),
        ((0, 1, 2), (), 0.5, False),
        ((False, True), (), True, False),
        # Without classes nothing tells the order of two, but of 0 and 1.
        ((), CREDIT, 0.98, True),
        ((), ONE_TWO, 0.98, False),
        ((), ONE_TWO, 0.0, False),
        ((), (("ham", "spam", 1.0), ("spam", "ham", 1.0)), 0.98, False),
    ],
)
def test_one_number_is_a_label_or_a_probability(
    classes: tuple[Value, ...],
    costs: tuple[tuple[str, str, float], ...],
    prediction: Value,
    is_it: bool,
) -> None:
    assert is_probability(prediction, Terms.of(classes, costs)) is is_it


@pytest.mark.parametrize("rule", ["", "min-cost", "threshold=0.2"])
def test_a_certain_probability_is_no_class_called_1(rule: str) -> None:
    terms = Terms.of((1, 2), ONE_TWO, rule)
    for p in (0.999999, 1.0):
        assert (COST(p, 2, terms), COST(p, 1, terms)) == (0.0, -1.0)
    assert (COST(0.0, 1, terms), COST(0.0, 2, terms)) == (0.0, -5.0)
    assert (COST(1, 1, terms), COST(1, 2, terms)) == (0.0, -5.0)
    with pytest.raises(ValueError, match="none of those that the cost matrix names"):
        COST(0.98, 2, Terms.of((), ONE_TWO, rule))


def test_a_class_of_probability_0_needs_no_costs() -> None:
    costs = [("a", "b", 1.0), ("b", "a", 5.0)]
    terms = Terms.of(("a", "b", "c"), costs, "min-cost")
    assert COST([0.5, 0.5, 0.0], "a", terms) == -1.0
    with pytest.raises(ValueError, match="the cost matrix names"):
        COST([0.5, 0.4, 0.1], "a", terms)
    # One that is never right may be the cheapest to say.
    careful = Terms.of(("a", "b", "c"), [*costs, ("a", "c", 0.1), ("b", "c", 0.1)], "min-cost")
    assert predicted_label([0.5, 0.5, 0.0], careful) == "c"


def test_the_labels_of_a_matrix_are_looked_up_once_for_all_rows() -> None:
    costs = [(str(t), str(a), 1.0 + (t + a) % 7) for t in range(20) for a in range(20) if t != a]
    terms = Terms.of(tuple(map(float, range(20))), costs, "min-cost")
    row = [0.0, 0.6, 0.4, *[0.0] * 17]
    label = predicted_label(row, terms)
    ((key, columns),) = terms.columns.items()
    assert predicted_label(row, terms) == label
    assert terms.columns[key] is columns
    by_hand = {a: 0.6 * (1 + (1 + a) % 7) * (a != 1) + 0.4 * (1 + (2 + a) % 7) * (a != 2)
               for a in range(20)}  # fmt: skip
    assert label == min(by_hand, key=by_hand.__getitem__)


def test_the_classes_that_a_matrix_lacks_are_named() -> None:
    costs = Terms.of(costs=ONE_TWO).costs
    assert not unnamed_note((1, 2), costs)
    assert not unnamed_note((), costs)
    assert not unnamed_note(("a",), {})
    assert "its classes `3`, `4`: rows where one of them" in unnamed_note((1, 2, 3, 4), costs)


def test_min_cost_lacks_what_any_name_of_the_matrix_lacks() -> None:
    assert missing_costs({"good": {"bad": 200}}) == [("bad", "good")]
    lacking = {"0": {"1": 1, "2": 1}, "1": {"0": 1, "2": 1}}
    assert missing_costs(lacking) == [("2", "0"), ("2", "1")]
    assert not missing_costs({"good": {"bad": 200}, "bad": {"good": 5000}})


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
