"""How probabilities become the prediction whose cost counts: the rule of the reward `cost`.

    p_c       probability that the model gives to class c
    C[t, a]   cost of predicting a where t is true

    most-likely   the class with the largest p_c, right where every confusion costs the same
    threshold=T   of two classes the second where its p_c is T or more, else the first
    min-cost      the class a with the least expected cost, sum_t p_t C[t, a]; the first of equals

Of two classes `min-cost` is the threshold T* = f / (f + m), where f = C[0, 1] - C[0, 0] is what a
false alarm costs more than the right answer, and m = C[1, 0] - C[1, 1] what a miss costs more. It
takes probabilities as they are: where they are not calibrated, it is not the cheapest rule.

Source: C. Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mlops.rewards.base import Answer, Terms, Value
from mlops.rewards.kinds import is_single, same
from mlops.rewards.probabilities import is_probability, probabilities

_T = TypeVar("_T")

#: The rule where none is chosen.
MOST_LIKELY = "most-likely"
MIN_COST = "min-cost"
_THRESHOLD = "threshold="
_SHOWN = 5
# Orders of classes whose costs are kept: a model has one.
_KEPT = 64
#: The rules, as they are chosen.
RULES = (MOST_LIKELY, MIN_COST, f"{_THRESHOLD}T")


def read_rule(text: str) -> str:
    """Return a decision rule in its one form; empty for none chosen.

    Raises:
        ValueError: There is no such rule.

    >>> read_rule("min-cost"), read_rule("threshold=.040")
    ('min-cost', 'threshold=0.04')
    """
    text = text.strip()
    if text in ("", MOST_LIKELY, MIN_COST):
        return text
    try:
        cut = float(text.removeprefix(_THRESHOLD)) if text.startswith(_THRESHOLD) else math.nan
    except ValueError:
        cut = math.nan
    if not 0 < cut < 1:
        raise ValueError(
            f"must be `{MOST_LIKELY}`, `{MIN_COST}` or `{_THRESHOLD}T` with T between 0 and 1, "
            f"such as `{_THRESHOLD}0.04`"
        )
    return f"{_THRESHOLD}{cut!r}"


def describe_rule(rule: str) -> str:
    """Say what a rule takes for the prediction, as a sentence without its full stop.

    >>> describe_rule("threshold=0.04")
    'of two probabilities the second class is the prediction from 0.04 on'
    """
    if rule == MIN_COST:
        return "of probabilities the class of least expected cost is the prediction"
    if rule.startswith(_THRESHOLD):
        return f"of two probabilities the second class is the prediction from {_cut(rule):g} on"
    return "of probabilities the most likely class is the prediction"


class NoLabelError(ValueError):
    """An answer is several values and no probability per class."""


def predicted_label(prediction: Answer, terms: Terms) -> Value:
    """Return the prediction of an answer: a label itself, or what the rule takes of probabilities.

    Raises:
        NoLabelError: The answer is several values and no probability per class.
        ValueError: The rule cannot be applied to it.

    >>> costs = [("good", "bad", 200.0), ("bad", "good", 5000.0)]
    >>> terms = [Terms.of(("good", "bad"), costs, rule) for rule in ("", "min-cost")]
    >>> [predicted_label([0.95, 0.05], its) for its in terms]
    ['good', 'bad']
    """
    if is_single(prediction) and not is_probability(prediction, terms):
        return prediction
    try:
        found = probabilities(prediction, terms)
    except ValueError as error:
        raise NoLabelError(str(error)) from None
    if terms.rule == MIN_COST:
        return _cheapest(found, terms)
    if terms.rule.startswith(_THRESHOLD):
        if len(found) != 2:
            raise ValueError("a threshold decides between two classes, and there are more")
        return found[found[1][1] >= _cut(terms.rule)][0]
    return max(found, key=lambda each: each[1])[0]


def cost_of(truth: Value, prediction: Value, costs: Mapping[str, Mapping[str, float]]) -> float:
    """Return what a cost matrix says of a prediction; 0 for a right one that it does not name.

    Raises:
        ValueError: It does not name them.
    """
    row = _named(costs, truth)
    if row is None:
        raise ValueError("the truth is none of those that the cost matrix names")
    cost = _named(row, prediction)
    if cost is None and not same(truth, prediction):
        raise ValueError("the prediction is none of those that the cost matrix names")
    return float(cost or 0.0)


def labels_of(costs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return every label that a cost matrix names, as a truth or as a prediction."""
    return list(dict.fromkeys([*costs, *(label for row in costs.values() for label in row)]))


def missing_costs(costs: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    """Return the confusions, truth and prediction, that `min-cost` needs and a matrix lacks.

    >>> missing_costs({"good": {"bad": 200}, "bad": {}}), missing_costs({"good": {"bad": 200}})
    ([('bad', 'good')], [('bad', 'good')])
    """
    # A name that is only ever a prediction may be a class like the others.
    names = labels_of(costs)
    return [
        (truth, other)
        for truth in names
        for other in names
        if other != truth and other not in costs.get(truth, {})
    ]


def unnamed_note(classes: Sequence[Value], costs: Mapping[str, Mapping[str, float]]) -> str:
    """Say which classes of a model a cost matrix does not name; empty if it names all, or is none.

    >>> unnamed_note(("a", "b", "c"), {"a": {"b": 1}, "b": {"a": 1}})
    'the cost matrix does not name its class `c`: rows where it is the label or predicted have no \
reward'
    """
    labels = labels_of(costs)
    lacking = [f"`{name}`" for name in classes if not any(same(label, name) for label in labels)]
    if not costs or not lacking:
        return ""
    named = ", ".join(lacking[:_SHOWN]) + ", …" * (len(lacking) > _SHOWN)
    which, is_it = ("classes", "one of them is") if len(lacking) > 1 else ("class", "it is")
    return (
        f"the cost matrix does not name its {which} {named}: rows where {is_it} the label or "
        "predicted have no reward"
    )


def cheapest_threshold(costs: Mapping[str, Mapping[str, float]]) -> tuple[str, float] | None:
    """Return the class of two that `min-cost` predicts from the lower probability on, and which.

    None where the matrix is not of two classes, or one of them is always cheaper.

    >>> cheapest_threshold({"good": {"bad": 200}, "bad": {"good": 4800}})
    ('bad', 0.04)
    """
    if len(costs) != 2 or missing_costs(costs):
        return None
    one, other = costs
    alarm = cost_of(one, other, costs) - cost_of(one, one, costs)
    miss = cost_of(other, one, costs) - cost_of(other, other, costs)
    if alarm <= 0 or miss <= 0:
        return None
    cut = alarm / (alarm + miss)
    return (other, cut) if cut <= 0.5 else (one, 1 - cut)


def _cheapest(found: Sequence[tuple[Value, float]], terms: Terms) -> Value:
    """Return the class of least expected cost, the first of equals.

    A class that the matrix does not name is none to choose, and stops nothing, where its
    probability is 0.

    Raises:
        ValueError: The matrix lacks what is needed of a class that may be true.
    """
    names = tuple(name for name, _ in found)
    chances = [p for _, p in found]
    best, least = names[0], math.inf
    for (name, p), column in zip(found, _columns(names, terms), strict=True):
        costs = column
        if None in column:
            lacking = [t for t, cost, q in zip(names, column, chances, strict=True)
                       if q and cost is None]  # fmt: skip
            if lacking and p:
                # This raises: it says which of the two the matrix does not name.
                cost_of(lacking[0], name, terms.costs)
            if lacking:
                continue
            costs = [cost or 0.0 for cost in column]
        expected = math.fsum(map(operator.mul, chances, costs))
        if expected < least:
            best, least = name, expected
    return best


def _columns(names: tuple[Value, ...], terms: Terms) -> list[list[float | None]]:
    """Return what predicting each class costs, by the true class; None where that is not named.

    Looked up once: comparing labels takes far longer than adding their costs.
    """
    key = tuple((type(name), name) for name in names)
    if key not in terms.columns:
        if len(terms.columns) >= _KEPT:
            terms.columns.clear()
        labels = labels_of(terms.costs)
        named = [(name, [label for label in labels if same(label, name)]) for name in names]
        terms.columns[key] = [
            [_known_cost(truth, prediction, terms.costs) for truth in named] for prediction in named
        ]
    return terms.columns[key]


def _known_cost(
    truth: tuple[Value, list[str]],
    prediction: tuple[Value, list[str]],
    costs: Mapping[str, Mapping[str, float]],
) -> float | None:
    """Return `cost_of` of two classes, each with its spellings in the matrix; None if unknown."""
    rows = [costs[label] for label in truth[1] if label in costs]
    known = (float(row[label]) for row in rows for label in prediction[1] if label in row)
    return next(known, 0.0 if rows and same(truth[0], prediction[0]) else None)


def _named(table: Mapping[str, _T], value: Value) -> _T | None:
    """Look a label up among texts, as `same` compares them."""
    if value is not None and str(value) in table:
        return table[str(value)]
    return next((found for name, found in table.items() if same(name, value)), None)


def _cut(rule: str) -> float:
    return float(rule.removeprefix(_THRESHOLD))
