"""How good the answers of several models are against the same truth.

Numbers give rmse, mae and r2, and so does the probability of class 1 against 0 and 1. Classes
(text, booleans, whole numbers) give accuracy and f1_macro, the unweighted mean of the F1 score over
all classes. A probability per class gives log_loss and
brier by the formulas of these rewards, so that a comparison says what an A/B test would; auc; and
accuracy and f1_macro of the most likely class. Of more than two classes, auc is the unweighted mean
over the classes of the target, each against all others. All but numbers give cost where costs are
known.

Models may know different classes. All are measured over the classes that any of them, or the
target, has; one that a model does not know has probability 0 from it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError
from mlops.registry.class_probabilities import (
    Answered,
    Probabilities,
    are_zero_and_one,
    listed,
    read_probabilities,
)
from mlops.rewards.base import NO_TERMS, Answer, Terms, Value
from mlops.rewards.brier import BRIER
from mlops.rewards.cost import COST
from mlops.rewards.decisions import describe_rule
from mlops.rewards.kinds import is_single, same
from mlops.rewards.log_loss import LOG_LOSS
from mlops.rewards.probabilities import label_of
from mlops.rewards.ranking import area_under_roc

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OF_NUMBERS = ("rmse", "mae", "r2")


@dataclass(frozen=True, slots=True)
class Measured:
    """How good the answers are.

    Attributes:
        metrics: Of each model, in their order; NaN where an answer was not a number.
        notes: What a reader must know to judge this.
        missing: Why some model lacks a metric, by its name.
    """

    metrics: tuple[Mapping[str, float], ...]
    notes: tuple[str, ...]
    missing: Mapping[str, str]


def measure_all(
    truth: NDArray[Any],
    answered: Sequence[Answered],
    terms: Terms = NO_TERMS,
    target: str = "target",
) -> Measured:
    """Measure every model by every metric that fits; what all of them have can be compared.

    Args:
        truth: (n,) true values.
        answered: The models.
        terms: Costs, if they are known, and the rule by which probabilities have one.
        target: Name of the column with the truth, for messages.

    Raises:
        InvalidInputError: A model answers what cannot be compared with this truth.
    """
    truths: list[Value] = truth.tolist()
    given = [read_probabilities(each, truths, target) for each in answered]
    classes = _union([*(each.classes for each in given if each), truths]) if any(given) else []
    labels = _as_classes(truths, classes)
    metrics, notes = [], []
    missing = {} if terms.costs else {"cost": "It needs `[feedback] costs` of the project file."}
    for model, own in zip(answered, given, strict=True):
        found: dict[str, float] = {}
        if own is not None and not are_zero_and_one(own.classes):
            missing |= dict.fromkeys(_OF_NUMBERS, f"`{model.label}` answers probabilities.")
        elif all(map(is_single, model.rows)):
            found |= measure(truth, _array(model.rows))
        if own is not None:
            notes += _unknown(model.label, own, labels, target)
            found |= measure_probabilities(labels, own.over(classes), classes)
        if not found:
            raise InvalidInputError(
                f"`{model.label}` answers numbers, which cannot be compared with `{target}`: "
                f"{listed(truths)}.",
                hint="If they are probabilities, it has to tell its classes: by `classes_`, or by "
                "answering a table with a column per class.",
            )
        if terms.costs and "accuracy" in found:
            try:
                found["cost"] = _mean_cost(model, own, labels, terms)
            except ValueError as error:
                missing["cost"] = f"`{model.label}` has no cost: {error}."
        metrics.append(found)
    if terms.costs:
        if any(given):
            notes.append(f"`cost`: {describe_rule(terms.rule)} (`[feedback] decision_rule`)")
        notes += [text.removesuffix(".") for name, text in missing.items() if name == "cost"]
    return Measured(tuple(metrics), tuple(notes), missing)


def measure(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """Return every metric that fits single values.

    Args:
        truth: (n,) true values.
        predicted: (n,) predictions.
    """
    import numpy as np
    from sklearn import metrics

    found: dict[str, float] = {}
    if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
        # A prediction that is not a number is infinitely wrong; sklearn would refuse it.
        return dict.fromkeys(_OF_NUMBERS, math.nan)
    if truth.dtype.kind in "iuf" and predicted.dtype.kind in "iuf":
        found["rmse"] = float(metrics.root_mean_squared_error(truth, predicted))
        found["mae"] = float(metrics.mean_absolute_error(truth, predicted))
        if len(truth) > 1:
            found["r2"] = float(metrics.r2_score(truth, predicted))
    if predicted.dtype.kind != "f":
        found |= _of_labels(truth.tolist(), predicted.tolist())
    return found


def measure_probabilities(
    labels: Sequence[Value], rows: Sequence[Sequence[float]], classes: Sequence[Value]
) -> dict[str, float]:
    """Return every metric of probabilities.

    Args:
        labels: (n,) true classes, each one of `classes`.
        rows: (n, k) probabilities.
        classes: The k classes.
    """
    terms = Terms(tuple(classes))
    if any(math.isnan(p) for row in rows for p in row):
        # As where a number is not one: it is infinitely wrong.
        return dict.fromkeys(("log_loss", "brier", "auc", "accuracy", "f1_macro"), math.nan)
    found = {
        reward.name.replace("-", "_"): -fmean(
            reward(row, label, terms) for row, label in zip(rows, labels, strict=True)
        )
        for reward in (LOG_LOSS, BRIER)
    }
    areas = [
        area_under_roc([row[at] for row in rows], [label == name for label in labels])
        for at, name in enumerate(classes)
    ]
    known = [area for area in areas if area is not None]
    if known:
        # Of two classes both are the same, but for rounding.
        found["auc"] = known[-1] if len(areas) == 2 else fmean(known)
    return found | _of_labels(labels, [label_of(row, terms) for row in rows])


def _of_labels(truths: Sequence[Value], predicted: Sequence[Value]) -> dict[str, float]:
    from sklearn import metrics

    one, other = _texts(truths), _texts(predicted)
    return {
        "accuracy": float(metrics.accuracy_score(one, other)),
        "f1_macro": float(metrics.f1_score(one, other, average="macro", zero_division=0)),
    }


def _mean_cost(
    model: Answered, own: Probabilities | None, labels: Sequence[Value], terms: Terms
) -> float:
    """Return the mean cost, by the model's own order of classes, as when it is served.

    Raises:
        ValueError: Some row has none.
    """
    rows: Sequence[Answer | None] = model.rows
    if own is not None:
        rows, terms = own.rows, replace(terms, classes=own.classes)
        if None in rows:
            return math.nan
    # Not minus the mean: it may be 0, which is not -0.
    return 0.0 - fmean(COST(row, label, terms) for row, label in zip(rows, labels, strict=True))


def _union(groups: Sequence[Sequence[Value]]) -> list[Value]:
    found: list[Value] = []
    for each in dict.fromkeys(name for group in groups for name in group):
        if not any(same(each, known) for known in found):
            found.append(each)
    return found


def _as_classes(truths: Sequence[Value], classes: Sequence[Value]) -> list[Value]:
    """Return truths as the classes that they are, so that 1.0 and 1 are the same one."""
    known = {each: next((c for c in classes if same(c, each)), each) for each in {*truths}}
    return [known[each] for each in truths]


def _unknown(label: str, own: Probabilities, labels: Sequence[Value], target: str) -> list[str]:
    counts = Counter(labels)
    unknown = {e: n for e, n in counts.items() if not any(same(e, name) for name in own.classes)}
    if not unknown or not own.classes:
        return []
    text = (
        f"`{label}` does not know {listed(unknown)}, which {sum(unknown.values()):,} of the "
        f"{len(labels):,} rows have as `{target}`: these count as probability 0"
    )
    return [text]


def _array(rows: Sequence[Answer]) -> NDArray[Any]:
    import numpy as np

    return np.asarray(rows)


def _texts(values: Sequence[Value]) -> list[str]:
    """Write classes as text, so that 1 and 1.0 are the same one."""
    return [
        str(int(v)) if isinstance(v, int | float) and float(v).is_integer() else str(v)
        for v in values
    ]
