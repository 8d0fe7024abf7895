"""Which two versions of a model a test should compare, by what their runs logged. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlops.registry.thresholds import better_of

#: Aliases of the version that others are compared with, the first that exists counts.
BASELINES = ("champion", "baseline", "base")


def best_version(metrics: Mapping[int, Mapping[str, float]]) -> int | None:
    """Return the version that is best by every metric that tells; None without such, or one.

    A metric tells if all runs logged it, it is known whether more or less of it is better, and it
    was not measured on the training data. Of several that are equally good the newest is the best.

    Args:
        metrics: Metrics of each version's run.

    >>> best_version({1: {"rmse": 0.5, "r2": 0.8}, 2: {"rmse": 0.6, "r2": 0.7}})
    1
    >>> best_version({1: {"rmse": 0.5, "mae": 0.4}, 2: {"rmse": 0.6, "mae": 0.3}}) is None
    True
    >>> best_version({1: {"auc": 0.8}, 2: {"auc": 0.9}, 3: {"auc": 0.9}, 4: {"auc": 0.7}})
    3
    >>> best_version({1: {"training_rmse": 0.5}, 2: {"training_rmse": 0.6}}) is None
    True
    """
    shared = set.intersection(*(set(each) for each in metrics.values())) if metrics else set()
    best = set(metrics)
    telling = False
    for name in shared:
        values = {version: its[name] for version, its in metrics.items()}
        better = None if name.lower().startswith("train") else better_of(name)
        if better is None or not all(map(math.isfinite, values.values())):
            continue
        top = max(values.values()) if better == "higher" else min(values.values())
        best &= {version for version, value in values.items() if value == top}
        telling = True
    return max(best) if telling and best else None


def baseline_of(aliases: Mapping[str, int]) -> tuple[str, int]:
    """Return the alias of the version that others are compared with, and its number; or 0.

    >>> baseline_of({"champion": 3, "modelB": 4}), baseline_of({"modelB": 4})
    (('champion', 3), ('', 0))
    """
    return next(((name, aliases[name]) for name in BASELINES if name in aliases), ("", 0))


def pair_by_metrics(
    new: int, baseline: int, metrics: Mapping[int, Mapping[str, float]]
) -> tuple[int, int] | None:
    """Return the versions to compare: the baseline, and the best where that is another one.

    Where the baseline itself is the best, or the metrics name no best, the new version is compared
    with it. Versions whose runs logged nothing are left out.

    Args:
        new: The version just registered.
        baseline: The one that others are compared with; 0 for none.
        metrics: Metrics of the run of each version that may be compared, with both of these.

    Returns:
        None where there is no baseline, or the new version is it.

    >>> pair_by_metrics(4, 1, {1: {"auc": 0.7}, 2: {"auc": 0.9}, 4: {"auc": 0.8}})
    (1, 2)
    >>> pair_by_metrics(4, 2, {1: {"auc": 0.7}, 2: {"auc": 0.9}, 4: {"auc": 0.8}})
    (2, 4)
    >>> pair_by_metrics(4, 1, {1: {"auc": 0.7}, 2: {"auc": 0.9}, 4: {}})
    (1, 4)
    """
    if baseline in (0, new):
        return None
    told = {version: its for version, its in metrics.items() if its}
    best = best_version(told) if {baseline, new} <= told.keys() else None
    return baseline, new if best in (None, baseline) else best
