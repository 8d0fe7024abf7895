"""Numbers of a row together: statistics that move when a correlation does, and no single feature.

Each is a quadratic form z' W z of standardised and clipped numbers, so that it has a reference and
a test like any feature:

- a pair, z_a z_b: of the `MOST_PAIRS` pairs of features that are most correlated in the training
  data (by ranks), which are all pairs of five features;
- all numbers, z' C^-1 z with their correlations C: one that breaks moves it, also of other pairs.
  One that was none and comes does not, unless it is a pair of its own. Learnt from rows in which
  all are known, and left out where these are few.

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
#: Share of the training rows in which a number must be known.
LEAST_KNOWN = 0.75
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
    n = len(next(iter(columns.values()), ()))
    if n < LEAST_ROWS:
        return {}
    order = np.random.default_rng(seed).permutation(n)
    halves = {
        name: (cells[order[: n // 2]], cells[order[n // 2 :]]) for name, cells in columns.items()
    }
    names = [name for name, (cells, _) in halves.items() if _usable(cells)]
    if not 2 <= len(names) <= MOST_NUMBERS:
        return {}
    learn, others = (np.stack([halves[name][half] for name in names], axis=1) for half in (0, 1))
    learn = np.where(np.isfinite(learn), learn, np.nan)
    low, centre, high = np.nanquantile(learn, [0.25, 0.5, 0.75], axis=0)
    scale = (high - low) / _QUARTILES
    if not (scale > 0).all():
        deviation = np.nanstd(learn, axis=0)
        scale = np.where(scale > 0, scale, np.where(deviation > 0, deviation, 1.0))
    z = _standard(learn, centre, scale)
    found = {}
    for a, b in _pairs(z):
        pair = [a, b]
        form = ((0.0, 0.5), (0.5, 0.0))
        found[f"{names[a]} & {names[b]}"] = _made(names, pair, centre, scale, form, others, sample)
    whole = z[np.isfinite(z).all(axis=1)]
    if len(names) > 2 and len(whole) >= LEAST_ROWS // 2:
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
    """Return the most correlated pairs of columns, each by the rows in which both are known."""
    known = np.isfinite(z)
    mask = known.astype(np.float64)
    # Of what is not known after all others.
    ranks = np.where(known, z.argsort(axis=0).argsort(axis=0) - mask.sum(axis=0) / 2, 0.0) / len(z)
    # Of column a where b is known, at [a, b].
    rows, sums, squares = mask.T @ mask, ranks.T @ mask, (ranks**2).T @ mask
    spread = rows * squares - sums**2
    with np.errstate(invalid="ignore", divide="ignore"):
        product = rows * (ranks.T @ ranks) - sums * sums.T
        correlations = np.nan_to_num(np.abs(product) / np.sqrt(spread * spread.T), posinf=0.0)
    a, b = np.triu_indices(z.shape[1], 1)
    strength = np.where(rows >= LEAST_ROWS // 2, correlations.round(9), -1.0)[a, b]
    best = np.argsort(-strength, kind="stable")[:MOST_PAIRS]
    return [(int(a[i]), int(b[i])) for i in best if strength[i] >= 0]


def _standard(rows: Floats, centre: Floats, scale: Floats) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):
        found: Floats = np.clip((rows - centre) / scale, -_CLIP, _CLIP)
    return found


def _usable(cells: Floats) -> bool:
    """Whether a column varies, and is known in so many rows that the others are worth watching."""
    known = cells[np.isfinite(cells)]
    return len(known) >= LEAST_KNOWN * len(cells) and bool(known.min() < known.max())
