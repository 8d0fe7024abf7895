"""Which answers of a model are probabilities of classes, and of which classes.

They are read as the server reads them: a list or an array has one per class, in the order of the
model's classes; an object or a table one per name; a single number is that of the second of two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlops.errors import InvalidInputError
from mlops.rewards.base import Answer, Terms, Value
from mlops.rewards.kinds import is_single, outputs_in, same
from mlops.rewards.probabilities import probabilities

_SHOWN, _LONGEST = 5, 80
_TWO: tuple[Value, ...] = (0, 1)
_HINT = (
    "Probabilities lie in [0, 1] and sum to 1, as those of a model logged with "
    '`pyfunc_predict_fn="predict_proba"`. Of several outputs none can be compared.'
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What one model answered.

    Attributes:
        label: The model.
        rows: Its answer to each of n rows.
        classes: Class of each probability, by position; empty if the model does not say.
    """

    label: str
    rows: Sequence[Answer]
    classes: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Probabilities:
    """The probability of each of k classes for each of n rows.

    Attributes:
        classes: The k classes.
        rows: (n, k); None for a row where an answer is not a number.
    """

    classes: tuple[Value, ...]
    rows: Sequence[Sequence[float] | None]

    def over(self, classes: Sequence[Value]) -> list[list[float]]:
        """Return the probabilities of m other classes, (n, m).

        Those that are none of these have 0; a row without numbers has NaN.
        """
        at = [
            next((at for at, own in enumerate(self.classes) if same(own, each)), None)
            for each in classes
        ]
        gaps = [math.nan] * len(at)
        return [
            gaps if row is None else [0.0 if i is None else row[i] for i in at] for row in self.rows
        ]


def read_probabilities(
    answered: Answered, truths: Sequence[Value], target: str
) -> Probabilities | None:
    """Return the probabilities that a model answered; None where it answers single values.

    Args:
        answered: The answers.
        truths: The n true values.
        target: Name of their column.

    Raises:
        InvalidInputError: It answers several values a row that are no probabilities, or of classes
            none of which is a truth.
    """
    if all(map(is_single, answered.rows)):
        return _of_second(answered, truths)
    terms = Terms(answered.classes)
    names: tuple[Value, ...] = ()
    rows: list[list[float] | None] = []
    for at, row in enumerate(answered.rows):
        if _has_gap(row):
            rows.append(None)
            continue
        try:
            found = probabilities(row, terms)
        except ValueError:
            raise _no_probabilities(answered.label, at, row) from None
        own = tuple(name for name, _ in found)
        names = names or own
        if own != names:
            raise _no_probabilities(answered.label, at, row, f", but {listed(names)} to others")
        rows.append([p for _, p in found])
    if names and not any(same(name, each) for name in names for each in {*truths}):
        raise InvalidInputError(
            f"`{answered.label}` answers probabilities of the classes {listed(names)}, and none of "
            f"them is in `{target}`, which has {listed(truths)}.",
            hint="Name the classes as the target has them: by `classes_` of the model, or by the "
            "columns of the table that it answers.",
        )
    return Probabilities(names, rows)


def _of_second(answered: Answered, truths: Sequence[Value]) -> Probabilities | None:
    """Read single numbers as probabilities of the second of two classes, where they are."""
    names = answered.classes or _TWO
    known = [any(same(name, each) for name in names) for each in {*truths}]
    if len(names) != len(_TWO) or not (any(known) if answered.classes else all(known)):
        return None
    floats = [each for each in answered.rows if isinstance(each, float)]
    # NaN is neither below 0 nor above 1.
    if len(floats) < len(answered.rows) or any(p < 0 or p > 1 for p in floats):
        return None
    # Of the classes 1 and 2, a column of 1.0 holds labels; of 0 and 1 both readings are the same.
    there = [p for p in floats if not math.isnan(p)]
    labels = all(any(same(p, name) for name in names) for p in there)
    if there and labels and not are_zero_and_one(names):
        return None
    return Probabilities(names, [None if math.isnan(p) else [1 - p, p] for p in floats])


def are_zero_and_one(classes: Sequence[Value]) -> bool:
    """Whether classes are 0 and 1, so that a probability of the second is near the true class.

    >>> are_zero_and_one((0, 1)), are_zero_and_one(("0", "1")), are_zero_and_one((1, 2))
    (True, True, False)
    """
    return len(classes) == len(_TWO) and all(map(same, classes, _TWO))


def _has_gap(answer: Answer) -> bool:
    return any(
        each is None or (isinstance(each, float) and not math.isfinite(each))
        for each in outputs_in(answer)
    )


def _no_probabilities(label: str, at: int, row: Answer, but: str = "") -> InvalidInputError:
    text = json.dumps(row, default=str, ensure_ascii=False)
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return InvalidInputError(
        f"`{label}` answers `{shown}` to row {at}{but}: neither one value nor a probability per "
        "class.",
        hint=_HINT,
    )


def listed(labels: Iterable[Value]) -> str:
    """Write the first of some labels, each once."""
    names = list(dict.fromkeys(f"`{each}`" for each in labels))
    return ", ".join(names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)
