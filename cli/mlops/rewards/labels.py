"""Labels that no model can answer: misspelt ones, which would count as wrong answers unnoticed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mlops.rewards.base import Answer, Value

_SHOWN, _LONGEST = 5, 40


def unknown_label(prediction: Answer, truth: Value, known: Sequence[Collection[Value]]) -> str:
    """Say that a label is none of the classes of the models.

    Args:
        prediction: What was answered.
        truth: Its label.
        known: The classes of each model that serves; empty for one that does not tell them.

    Returns:
        Empty if it is one, or if that cannot be told: a model does not tell its classes, or the
        answer is none of them itself, for example since another model gave it.

    >>> unknown_label("paid", "PAID ", [("late", "paid")])
    '`PAID ` is none of the classes `late`, `paid` of the models, so it counts as a wrong answer'
    >>> unknown_label("paid", "PAID ", [("late", "paid"), ()])
    ''
    """
    if not isinstance(prediction, str) or not isinstance(truth, str) or not all(known):
        return ""
    if any(truth in classes for classes in known):
        return ""
    if not any(prediction in classes for classes in known):
        return ""
    names = sorted({str(each) for classes in known for each in classes})
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    listed = ", ".join(f"`{name[:_LONGEST]}`" for name in names[:_SHOWN])
    return (
        f"`{truth[:_LONGEST]}` is none of the classes {listed}{more} of the models, so it counts "
        "as a wrong answer"
    )
