"""Labels that no model can answer: misspelt ones, which would count as wrong answers unnoticed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from mlops.rewards.base import Answer, Value
from mlops.rewards.kinds import is_number, is_single, same

_SHOWN, _LONGEST, _EXAMPLES = 5, 40, 3
_TWO = 2


def is_unknown(prediction: Answer, truth: Value, known: Sequence[Collection[Value]]) -> bool:
    """Whether a label is none of the classes of the models.

    It is not, where that cannot be told: a model does not tell its classes, or the answer is
    neither one of them nor probabilities, for example since another model gave it.

    Args:
        prediction: What was answered.
        truth: Its label.
        known: The classes of each model; empty for one that does not tell them.

    >>> is_unknown("paid", "PAID ", [("late", "paid")]), is_unknown(6, "6", [(5, 6)])
    (True, False)
    >>> is_unknown("paid", "PAID ", [("late", "paid"), ()])
    False
    """
    if not is_single(truth) or not known or not all(known) or _is_among(truth, known):
        return False
    if not is_single(prediction):
        return True
    if is_number(prediction) and 0 < prediction < 1 and {*map(len, known)} == {_TWO}:
        return True
    return _is_among(prediction, known)


def _is_among(value: Value, known: Sequence[Collection[Value]]) -> bool:
    if any(value in classes for classes in known):
        return True
    return any(same(value, each) for classes in known for each in classes)


def unknown_label(prediction: Answer, truth: Value, known: Sequence[Collection[Value]]) -> str:
    """Say that a label is none of the classes of the models, and counts as a wrong answer.

    Args:
        prediction: What was answered.
        truth: Its label.
        known: As in `is_unknown`.

    Returns:
        Empty if it is one, if that cannot be told, or if it does not count.

    >>> unknown_label("paid", "PAID ", [("late", "paid")])
    '`PAID ` is none of the classes `late`, `paid` of the models, so it counts as a wrong answer'
    """
    if not is_single(prediction) or not is_unknown(prediction, truth, known):
        return ""
    return (
        f"{_quoted(truth)} is none of the classes {_listed(known)} of the models, so it counts "
        "as a wrong answer"
    )


@dataclass(slots=True)
class UnknownLabels:
    """Labels that are none of the classes, counted.

    Attributes:
        count: How many.
        wrong: How many of these count as wrong answers; the others are not compared.
        examples: The first different ones.
    """

    count: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, truth: Value, *, wrong: bool) -> None:
        """Count one."""
        self.count += 1
        self.wrong += wrong
        text = str(truth)[:_LONGEST]
        if len(self.examples) < _EXAMPLES and text not in self.examples:
            self.examples.append(text)

    def sentence(self, known: Sequence[Collection[Value]], *, with_examples: bool = False) -> str:
        """Say how many there are; empty for none.

        Args:
            known: The classes of each model.
            with_examples: Whether to quote labels of single requests, which may be any text of a
                sender: only to who may read single requests, never in a message or the audit trail.

        >>> UnknownLabels(40, 40, ["PAID "]).sentence([("late", "paid")])
        '40 labels are none of the classes `late`, `paid`. They count as wrong answers.'
        >>> UnknownLabels(1, 1, ["PAID "]).sentence([("late", "paid")], with_examples=True)
        '1 label is none of the classes `late`, `paid`: `PAID `. It counts as a wrong answer.'
        """
        if not self.count:
            return ""
        labels = "1 label is" if self.count == 1 else f"{self.count:,} labels are"
        they = "It counts as a wrong answer" if self.count == 1 else "They count as wrong answers"
        if self.wrong < self.count:
            they = f"{self.wrong:,} of them count as wrong answers, the others do not count"
        if not self.wrong:
            they = "It does not count" if self.count == 1 else "They do not count"
        examples = f": {', '.join(map(_quoted, self.examples))}" if with_examples else ""
        return f"{labels} none of the classes {_listed(known)}{examples}. {they}."


def _listed(known: Sequence[Collection[Value]]) -> str:
    names = sorted({str(each) for classes in known for each in classes})
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(_quoted, names[:_SHOWN])) + more


def _quoted(value: Value) -> str:
    return f"`{str(value)[:_LONGEST]}`"
