"""How much worse a candidate may be than the model it would replace: `rmse=1%`.

A limit names a metric and an amount, relative with `%` (of the baseline's absolute value), else in
the metric's own unit. Whether less or more of a metric is better is known for the usual ones; for
another the limit says it: `churn:lower=0.01`, `uplift:higher=5%`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mlops.errors import InvalidInputError, UsageError, did_you_mean, one_of

Better = Literal["lower", "higher"]

_LIMIT = re.compile(r"(?P<name>[^=]+?)(:(?P<better>lower|higher))?=(?P<amount>[^=%]+)(?P<unit>%?)")
_BETTER: Mapping[str, Better] = {
    **dict.fromkeys(
        (
            "rmse", "mse", "mae", "mape", "max_error", "log_loss", "loss", "brier", "error", "cost",
            "root_mean_squared_error", "mean_squared_error", "mean_absolute_error",
        ),
        "lower",
    ),
    **dict.fromkeys(
        ("r2", "accuracy", "f1", "f1_macro", "precision", "recall", "auc", "roc_auc"), "higher"
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limit:
    """How much worse one metric may be.

    Attributes:
        metric: Its name.
        better: Whether `lower` or `higher` values are better.
        amount: How much, not negative; a share of the baseline's absolute value if `relative`.
        relative: Whether it was written with `%`.
    """

    metric: str
    better: Better
    amount: float
    relative: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """One metric of a candidate against the baseline.

    Attributes:
        candidate: Label of the candidate.
        metric: The metric.
        baseline: Its value for the baseline.
        value: Its value for the candidate, None if that is not a finite number.
        allowed: The worst value that passes.
        passed: Whether the candidate's does.
    """

    candidate: str
    metric: str
    baseline: float
    value: float | None
    allowed: float
    passed: bool


def parse_limit(text: str) -> Limit:
    """Read a limit.

    Raises:
        UsageError: It is malformed, or it is not known which way the metric is better.

    >>> parse_limit("rmse=1%")
    Limit(metric='rmse', better='lower', amount=0.01, relative=True)
    >>> parse_limit("uplift:higher=0.5").better
    'higher'
    """
    match = _LIMIT.fullmatch(text.strip())
    try:
        amount = float(match["amount"]) if match else math.nan
    except ValueError:
        amount = math.nan
    if match is None or not 0 <= amount < math.inf:
        raise UsageError(
            f"`{text}` is not a limit.", hint="For example `rmse=1%`, `accuracy=0.005`, `r2=0`."
        )
    name, relative = match["name"].strip(), bool(match["unit"])
    better = match["better"] or _BETTER.get(name.lower())
    if better is None:
        raise UsageError(
            f"Unknown direction for metric `{name}`: is lower or higher better?",
            hint=f"`{name}:lower=…` or `{name}:higher=…`",
        )
    return Limit(
        name,
        "lower" if better == "lower" else "higher",
        amount / (100 if relative else 1),
        relative,
    )


def better_of(metric: str) -> Better | None:
    """Whether lower or higher values of a metric are better, None if its name does not say.

    Prefixes and suffixes that autologging adds are ignored.

    >>> better_of("training_accuracy_score"), better_of("val_rmse"), better_of("uplift")
    ('higher', 'lower', None)
    """
    name = re.sub(
        r"^(training|train|validation|valid|val|test|eval|cv)_|_score$", "", metric.lower()
    )
    return _BETTER.get(name)


def judge(
    limits: Iterable[Limit],
    candidate: str,
    baseline: Mapping[str, float],
    values: Mapping[str, float],
    missing: Mapping[str, str] | None = None,
) -> list[Judgement]:
    """Compare a candidate's metrics with a baseline's.

    Args:
        limits: How much worse they may be.
        candidate: Label of the candidate.
        baseline: Metrics of the baseline.
        values: Those of the candidate.
        missing: Why one of them lacks a metric, where that is known.

    Raises:
        InvalidInputError: One of them lacks a metric, or the baseline's is not finite.
    """
    return [_judge(limit, candidate, baseline, values, missing or {}) for limit in limits]


def _judge(
    limit: Limit,
    candidate: str,
    baseline: Mapping[str, float],
    values: Mapping[str, float],
    missing: Mapping[str, str],
) -> Judgement:
    name = limit.metric
    shared = sorted(baseline.keys() & values.keys())
    if name not in shared:
        raise InvalidInputError(
            f"There is no metric `{name}` that both models have.",
            hint=missing.get(name) or did_you_mean(name, shared) or f"Both have {one_of(shared)}.",
        )
    before, after = baseline[name], values[name]
    if not math.isfinite(before):
        raise InvalidInputError(f"`{name}` of the baseline is {before}; nothing can be held to it.")
    slack = limit.amount * (abs(before) if limit.relative else 1.0)
    allowed = before + slack if limit.better == "lower" else before - slack
    passed = after <= allowed if limit.better == "lower" else after >= allowed
    finite = math.isfinite(after)
    return Judgement(candidate, name, before, after if finite else None, allowed, finite and passed)
