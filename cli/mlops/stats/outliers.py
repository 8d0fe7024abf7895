r"""How unusual a row is among those that a model was trained on, as a p-value.

Symbols: rows of the reference are split at random into n that a detector is fitted on, and m that
it is calibrated with; s is the score of a row, larger for one that is more unusual.

Four detectors look at each row, in numbers (`mlops.stats.row_codes`):

- isolation forest (Liu, Ting, Zhou, ICDM 2008): trees that split 256 rows at random; a row that is
  alone after few splits is unusual;
- ECOD (Li et al., arXiv 2201.00382): the sum over features of -log of the tail that a value is in,
  the left, the right, or the one to which the feature is skewed, whichever sum is largest;
- the most extreme single value: a sum of many features hides one that is far out of its range;
- the distance in a Gaussian copula (`mlops.stats.copula`): the others look at each value for
  itself, or nearly so, and a row whose values are usual but do not come together escapes them.

Each gives the rank of its score among those of the n rows; s is the largest of the ranks. Then

    p = (1 + number of the m rows with a score >= s) / (m + 1)

is a conformal p-value (Vovk, Gammerman, Shafer 2005, section 2.2): for a row exchangeable with the
m, P(p <= a) <= a for every a, whatever the detectors are worth, and nearly equal as ties are
rare. So of rows like those of the training a share a is flagged at level a, on average over the
split; that of one model differs with its m rows, as a binomial share of m would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.stats.copula import Copula, fit_copula, held_out_scores, normal_quantiles

Floats = NDArray[np.float64]

#: Rows of a reference that are looked at.
MOST_ROWS = 4_000
#: Fewer could never be beyond 1 %.
LEAST_ROWS = 200
# Numbers of all rows together, which are stored with the model.
_MOST_NUMBERS = 400_000
_TREES, _SAMPLE, _DEPTH = 64, 256, 8
_EULER = 0.5772156649
_AT_ONCE = 2_048
# Of wide rows fewer, and fewer trees: so many numbers in memory.
_NUMBERS_AT_ONCE = 2_000_000
# A covariance of more columns would be large, and mean little with so few rows.
_MOST_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Forest:
    """An isolation forest, all trees one after the other.

    Attributes:
        roots: (t,) where each tree begins.
        features: (nodes,) column that a node asks; -1 for a leaf.
        cuts: (nodes,) at most this goes to `below`, more to the node after that.
        below: (nodes,) where the answer leads.
        lengths: (nodes,) of a leaf: splits on the way, and those that would have followed.
    """

    roots: NDArray[np.int64]
    features: NDArray[np.int64]
    cuts: Floats
    below: NDArray[np.int64]
    lengths: Floats

    def scores(self, rows: Floats) -> Floats:
        """Return minus the mean length of the paths of rows, (m,)."""
        total, every = np.zeros(len(rows)), np.arange(len(rows))
        for root in self.roots.tolist():
            at = np.full(len(rows), root)
            for _ in range(_DEPTH):
                column = self.features[at]
                right = rows[every, column] > self.cuts[at]
                at = np.where(column < 0, at, self.below[at] + right)
            total += self.lengths[at]
        return -total / len(self.roots)


def grow(rows: Floats, rng: np.random.Generator) -> Forest:
    """Grow a forest.

    Args:
        rows: (n, k).
        rng: Draws samples and splits.
    """
    size = min(_SAMPLE, len(rows))
    most = max(1, _NUMBERS_AT_ONCE // (size * rows.shape[1]))
    parts = [_grown(rows, rng, size, min(most, _TREES - at)) for at in range(0, _TREES, most)]
    starts = np.cumsum([0, *(len(part.features) for part in parts[:-1])])
    return Forest(
        np.concatenate([part.roots + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.cuts for part in parts]),
        np.concatenate([part.below + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.lengths for part in parts]),
    )


def _grown(rows: Floats, rng: np.random.Generator, size: int, trees: int) -> Forest:
    """Grow trees on so many rows each, all together, level by level."""
    drawn = [rng.choice(len(rows), size, replace=False) for _ in range(trees)]
    mine, node = rows[np.concatenate(drawn)], np.repeat(np.arange(trees), size)
    levels: list[tuple[NDArray[np.int64], Floats, NDArray[np.int64], Floats]] = []
    count, base = trees, 0
    for depth in range(_DEPTH + 1):
        # Rows of a node stand together.
        order = np.argsort(node, kind="stable")
        mine, node = mine[order], node[order]
        sizes = np.bincount(node, minlength=count)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        low, high = (f.reduceat(mine, starts, axis=0) for f in (np.minimum, np.maximum))
        chance = np.where(high > low, rng.random(low.shape), -1.0)
        column = chance.argmax(axis=1)
        at = np.arange(count), column
        splits = (chance[at] >= 0) & (depth < _DEPTH)
        where = rng.random(count)
        cut = low[at] * (1 - where) + high[at] * where
        # Rounding must leave a row on either side.
        cut = np.minimum(cut, np.nextafter(high[at], -np.inf))
        rank = np.cumsum(splits) - 1
        levels.append(
            (
                np.where(splits, column, -1),
                np.where(splits, cut, 0.0),
                np.where(splits, base + count + 2 * rank, 0),
                np.where(splits, 0.0, depth + _unfinished(sizes)),
            )
        )
        goes = splits[node]
        right = mine[np.arange(len(node)), column[node]] > cut[node]
        mine, node = mine[goes], (2 * rank[node] + right)[goes]
        base, count = base + count, 2 * int(splits.sum())
        if not count:
            break
    features, cuts, below, lengths = (np.concatenate(each) for each in zip(*levels, strict=True))
    return Forest(np.arange(trees), features, cuts, below, lengths)


def _unfinished(sizes: NDArray[np.int64]) -> Floats:
    """Return the mean length of a path among so many rows each (Liu et al., equation 1)."""
    n = np.maximum(sizes, 3).astype(np.float64)
    found: Floats = 2.0 * (np.log(n - 1) + _EULER) - 2.0 * (n - 1) / n
    return np.where(sizes > 2, found, np.where(sizes == 2, 1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Ecod:
    """Empirical cumulative distributions of each feature.

    Attributes:
        values: (n, k), each column ascending.
        skewed: (k,) sign of each column's skewness.
    """

    values: Floats
    skewed: Floats

    def counts(self, rows: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many values are below those of rows, and how many are not above, (m, k)."""
        below, upto = np.empty(rows.shape, np.int64), np.empty(rows.shape, np.int64)
        for column in range(rows.shape[1]):
            ordered = self.values[:, column]
            below[:, column] = np.searchsorted(ordered, rows[:, column], side="left")
            upto[:, column] = np.searchsorted(ordered, rows[:, column], side="right")
        return below, upto

    def tails(self, below: NDArray[np.int64], upto: NDArray[np.int64]) -> Floats:
        """Return -log of the left tail, the right tail, and the skewed one, (3, m, k)."""
        n = len(self.values)
        # A row beyond all others stands in for a rank of its own.
        low, high = -np.log((upto + 1) / (n + 1)), -np.log((n - below + 1) / (n + 1))
        skewed = np.where(self.skewed < 0, low, np.where(self.skewed > 0, high, low + high))
        return np.stack([low, high, skewed])

    def scores(self, rows: Floats) -> Floats:
        """Return how far out rows are, (m,)."""
        found: Floats = self.tails(*self.counts(rows)).sum(axis=2).max(axis=0)
        return found

    def normal(self, below: NDArray[np.int64], upto: NDArray[np.int64]) -> Floats:
        """Return the normal quantile of the rank of each value, (m, k); equal ones share a rank."""
        found: Floats = normal_quantiles(len(self.values))[below + upto]
        return found

    def extremes(self, rows: Floats, tails: Floats) -> Floats:
        """Return how far out each value is, beyond the range by how far, (m, k)."""
        low, high = self.values[0], self.values[-1]
        beyond = np.maximum(rows - high, low - rows)
        width = np.where(high > low, high - low, 1.0)
        with np.errstate(over="ignore"):
            far = np.log1p(np.maximum(beyond, 0.0) / width)
        found: Floats = tails[:2].max(axis=0) + np.minimum(far, 100.0)
        return found


def spread(rows: Floats) -> Ecod:
    """Fit the distributions of rows, (n, k)."""
    centred = rows - rows.mean(axis=0)
    return Ecod(np.sort(rows, axis=0), np.sign((centred**3).mean(axis=0)))


@dataclass(frozen=True, slots=True)
class Detectors:
    """What looks at rows.

    Attributes:
        forest: The isolation forest.
        ecod: The distributions.
        copula: How values go together; None where there are too many columns.
    """

    forest: Forest
    ecod: Ecod
    copula: Copula | None = None

    def scores(self, rows: Floats) -> Floats:
        """Return the score of each detector, (3 or 4, m)."""
        counts = self.ecod.counts(rows)
        tails = self.ecod.tails(*counts)
        found = [
            self.forest.scores(rows),
            tails.sum(axis=2).max(axis=0),
            self.ecod.extremes(rows, tails).max(axis=1, initial=0.0),
        ]
        if self.copula is not None:
            found.append(self.copula.scores(self.ecod.normal(*counts)))
        return np.stack(found)


@dataclass(frozen=True, slots=True)
class Detector:
    """The detectors, and what makes their scores p-values.

    Attributes:
        own: The detectors.
        fitted: (3 or 4, n) scores of the rows that they were fitted on, ascending.
        calibrated: (m,) scores s of the other rows, ascending.
    """

    own: Detectors
    fitted: Floats
    calibrated: Floats

    def p_values(self, rows: Floats) -> Floats:
        """Return the p-value of each row, (m,)."""
        beyond = len(self.calibrated) - np.searchsorted(self.calibrated, self._scores(rows))
        found: Floats = (1 + beyond) / (len(self.calibrated) + 1)
        return found

    @property
    def smallest(self) -> float:
        """The smallest p-value that any row can have: at a lower level none is flagged."""
        return 1 / (len(self.calibrated) + 1)

    def _scores(self, rows: Floats) -> Floats:
        own = [self.own.scores(part) for part in _parts(rows)]
        found: Floats = _ranks(np.concatenate(own, axis=1), self.fitted).max(axis=0)
        return found

    def unusual(self, rows: Floats) -> NDArray[np.int64]:
        """Return the columns of each row, (m, k), the most unusual value first.

        Where how values go together is what is most unusual, it is what adds most to that.

        Args:
            rows: (m, k). It takes as long as their p-values; many together much less than each
                alone.
        """
        return np.concatenate([self._unusual(part) for part in _parts(rows)])

    def _unusual(self, rows: Floats) -> NDArray[np.int64]:
        ecod, copula = self.own.ecod, self.own.copula
        counts = ecod.counts(rows)
        adds = ecod.extremes(rows, ecod.tails(*counts))
        if copula is not None:
            most = _ranks(self.own.scores(rows), self.fitted).argmax(axis=0)
            together = most == len(self.fitted) - 1
            adds = np.where(together[:, None], copula.parts(ecod.normal(*counts)), adds)
        return np.argsort(-adds, axis=1, kind="stable")


def _parts(rows: Floats) -> list[Floats]:
    """Return rows in parts, each as many as the processor's caches hold."""
    most = max(1, min(_AT_ONCE, _NUMBERS_AT_ONCE // rows.shape[1]))
    return [rows[at : at + most] for at in range(0, len(rows), most)] or [rows]


def _ranks(own: Floats, fitted: Floats) -> Floats:
    """Return the rank of each score, (3 or 4, m); beyond all ranks how far beyond that counts."""
    ranks = []
    for scores, known in zip(own, fitted, strict=True):
        # Between two ranks it is where the score is between theirs, so that few are equal.
        rank = np.interp(scores, known, np.linspace(0.0, 1.0, len(known)))
        spread_ = max(float(known[-1] - known[len(known) // 2]), 1e-12)
        ranks.append(rank + np.maximum(scores - known[-1], 0.0) / spread_)
    return np.stack(ranks)


def most_rows(columns: int) -> int:
    """Return how many rows of so many columns a detector looks at: of wide ones fewer."""
    return max(LEAST_ROWS, min(MOST_ROWS, _MOST_NUMBERS // columns))


def fit(rows: Floats, seed: int = 0) -> Detector:
    """Fit and calibrate on rows of the reference.

    Args:
        rows: (n + m, k), finite, at least `LEAST_ROWS` of them.
        seed: Draws the split, and the trees.

    Raises:
        ValueError: There are too few.
    """
    if len(rows) < LEAST_ROWS:
        raise ValueError(f"{len(rows)} rows are too few, {LEAST_ROWS} are needed")
    rng = np.random.default_rng(seed)
    rows = rows[rng.permutation(len(rows))[: most_rows(rows.shape[1])]]
    half = len(rows) // 2
    mine, others = rows[:half], rows[half:]
    forest, ecod = grow(mine, rng), spread(mine)
    normal = ecod.normal(*ecod.counts(mine))
    copula = fit_copula(normal) if rows.shape[1] <= _MOST_COLUMNS else None
    own = Detectors(forest, ecod, copula)
    fitted = own.scores(mine)
    if copula is not None:
        fitted[-1] = held_out_scores(normal)
    fitted = np.sort(fitted, axis=1)
    scores = _ranks(own.scores(others), fitted).max(axis=0)
    return Detector(own, fitted, np.sort(scores))
