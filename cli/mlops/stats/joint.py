"""Numbers of a row together: statistics that move when a correlation does, and no single feature.

Each is a quadratic form z' W z of standardised and clipped numbers, so that it has a reference and
a test like any feature:

- a pair, z_a z_b: of the `MOST_PAIRS` pairs of features that are most correlated in the training
  data (by ranks), which are all pairs of five features;
- all numbers, z' C^-1 z with their correlations C: one that breaks moves it, also of other pairs.
  One that was none and comes does not, unless it is a pair of its own.

What they are, the pairs, centres, scales and C, is learnt from one random half of the training
rows, and their reference values are those of the other half. So the reference rows and new rows of
the same source are exchangeable given the statistic, and the guarantee of the test is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.stats.profiles import FeatureProfile, profile_feature

Floats = NDArray[np.float64]

#: Name of the statistic of all numbers.
ALL = "all numbers together"
#: Fewer training rows say nothing of correlations.
LEAST_ROWS = 200
#: Most pairs, and most numbers of which all together are looked at.
MOST_PAIRS, MOST_NUMBERS = 10, 50
_CLIP = 4.0
_SHRINK = 0.05
# Of a normal distribution, quartiles to deviation.
_QUARTILES = 1.349


@dataclass(frozen=True, slots=True)
class Joint:
    """A statistic of several columns of a row.

    Attributes:
        columns: Names of k columns.
        centres: (k,).
        scales: (k,) positive.
        form: (k, k) W.
    """

    columns: tuple[str, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    form: tuple[tuple[float, ...], ...]

    def values(self, columns: Sequence[Floats]) -> Floats:
        """Return it for rows, (m,); NaN where a number is missing.

        Args:
            columns: k of (m,), in the order of `columns`.
        """
        z = _standard(np.stack(columns, axis=1), np.array(self.centres), np.array(self.scales))
        found: Floats = np.einsum("mi,ij,mj->m", z, np.array(self.form), z)
        return found

    @staticmethod
    def read(document: Mapping[str, Any]) -> Joint:
        """Read what `dataclasses.asdict` has written."""
        form = tuple(tuple(map(float, row)) for row in document["form"])
        centres, scales = (tuple(map(float, document[k])) for k in ("centres", "scales"))
        return Joint(tuple(document["columns"]), centres, scales, form)


@dataclass(frozen=True, slots=True)
class JointFeature:
    """A statistic, and what the training data had of it."""

    statistic: Joint
    profile: FeatureProfile


def joint_features(
    columns: Mapping[str, Floats], sample: int, seed: int = 0
) -> dict[str, JointFeature]:
    """Return the statistics of a table's numbers, by name; none of a small or a wide one.

    Args:
        columns: Name to (n,) numbers, NaN where missing.
        sample: Most values of a reference.
        seed: Draws the halves.
    """
    usable = {name: cells for name, cells in columns.items() if _spread(cells) > 0}
    n = len(next(iter(usable.values()), ()))
    if n < LEAST_ROWS or not 2 <= len(usable) <= MOST_NUMBERS:
        return {}
    names, table = list(usable), np.stack(list(usable.values()), axis=1)
    order = np.random.default_rng(seed).permutation(n)
    learn, others = table[order[: n // 2]], table[order[n // 2 :]]
    learn = np.where(np.isfinite(learn), learn, np.nan)
    low, centre, high = np.nanquantile(learn, [0.25, 0.5, 0.75], axis=0)
    scale = (high - low) / _QUARTILES
    if not (scale > 0).all():
        deviation = np.nanstd(learn, axis=0)
        scale = np.where(scale > 0, scale, np.where(deviation > 0, deviation, 1.0))
    z = _standard(learn, centre, scale)
    whole = z[np.isfinite(z).all(axis=1)]
    if len(whole) < LEAST_ROWS // 2:
        return {}
    found = {}
    for a, b in _pairs(whole):
        pair = [a, b]
        form = ((0.0, 0.5), (0.5, 0.0))
        found[f"{names[a]} & {names[b]}"] = _made(names, pair, centre, scale, form, others, sample)
    if len(names) > 2:
        covariance = (1 - _SHRINK) * (whole.T @ whole / len(whole))
        inverse = np.linalg.inv(covariance + _SHRINK * np.eye(len(names)))
        form_all = tuple(tuple(map(float, row)) for row in inverse)
        every = list(range(len(names)))
        found[ALL] = _made(names, every, centre, scale, form_all, others, sample)
    return found


def _made(
    names: list[str], at: list[int], centre: Floats, scale: Floats,
    form: tuple[tuple[float, ...], ...], rows: Floats, sample: int,
) -> JointFeature:  # fmt: skip
    statistic = Joint(
        tuple(names[i] for i in at),
        tuple(centre[at].tolist()),
        tuple(scale[at].tolist()),
        form,
    )
    values = statistic.values([rows[:, i] for i in at])
    return JointFeature(statistic, profile_feature(values, sample))


def _pairs(z: Floats) -> list[tuple[int, int]]:
    """Return the most correlated pairs of columns."""
    ranks = z.argsort(axis=0).argsort(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.nan_to_num(np.abs(np.corrcoef(ranks.T)))
    a, b = np.triu_indices(z.shape[1], 1)
    strength = correlations[a, b]
    best = np.argsort(-strength, kind="stable")[:MOST_PAIRS]
    return [(int(a[i]), int(b[i])) for i in best]


def _standard(rows: Floats, centre: Floats, scale: Floats) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):
        found: Floats = np.clip((rows - centre) / scale, -_CLIP, _CLIP)
    return found


def _spread(cells: Floats) -> float:
    known = cells[np.isfinite(cells)]
    return float(known.max() - known.min()) if len(known) >= LEAST_ROWS // 2 else 0.0
