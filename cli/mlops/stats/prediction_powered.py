r"""The mean loss over all answers where only some have a label, as a confidence sequence.

Symbols:
    L_j   losses of the n labelled rows, at least `low`, in the order in which their labels came
    x     what is known of a row without its label: here, of its answer
    g     proxy of the loss, a function of x fitted on the first `FITTED` labelled rows
    Z_j   L_j - g(x_j) of the labelled rows after those

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, arXiv 2301.09633):

    mean loss = mean of g(x) over all rows + mean of Z over the labelled rows,

whatever g is worth; the better it is, the narrower. Each of the two means has a confidence sequence
of its own (`mlops.stats.capital`), valid in finite samples and at all numbers of rows at once, and
the union bound joins them: of alpha the first, of many rows, gets the share `_SHARE_ALL`. Where g
explains so little of the losses that it was fitted on (leave-one-out), or labels are so frequent,
that this would be wider than labels alone, g is the mean of those losses: then the first mean is
known, and the second has all of alpha. So g is tuned as in PPI++ (arXiv 2311.01453), but once,
since the two means must be of one g.

**What must hold: labels come at random.** Whether and when a row gets a label depends on nothing
that its loss depends on, as where each row is drawn for labelling with the same probability, and
labelled after the same time. Where labels are what callers happen to send, as the complaints of
some, or where one kind of label is known sooner (a fraud after a day, no fraud after a month), the
mean of Z is about those that are there, and no g repairs it. (Were labels missing at random given x
only, Z would have to be weighted by the probability of a label given x, which is not known here.)
Rows must also come from one source over time, or the labels in proportion to them: the two means
are over the same period. And rows must be independent: those of one request, or of one unit, are
not, and intervals that took them so would miss almost always. (Sums by request are no way out:
they have no largest value that is known beforehand.)

A loss without a known largest value, as a squared error, has a lower end only: no sample says how
large the rarest error is. Z is cut off above at `_REACH` times the largest g there, which can only
lower the lower end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.stats.capital import bound

Floats = NDArray[np.float64]

#: Labelled rows that g is fitted on.
FITTED = 100
_SHARE_ALL = 0.2
_RIDGE = 1.0
# How much wider a sequence is at 0.8 alpha, and at 0.2 alpha, than at alpha; and what is worth it.
_WIDER, _WIDEST, _WORTH = 1.03, 1.25, 0.95
_REACH = 4.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """g, a linear function of x within [low, high].

    Attributes:
        centre: (k,) mean of x.
        scale: (k,) deviation of x.
        slopes: (k,); all 0 where x explains too little.
        intercept: Mean loss of the rows that it was fitted on.
        low: Least loss there can be.
        high: Largest loss there can be, else the largest of those rows.
        bounded: Whether it is the former.
    """

    centre: Floats
    scale: Floats
    slopes: Floats
    intercept: float
    low: float
    high: float
    bounded: bool

    @property
    def is_constant(self) -> bool:
        """Whether it says the same of every row."""
        return not self.slopes.any()

    def __call__(self, x: Floats) -> Floats:
        """Return g of rows, (n, k) to (n,)."""
        raw = self.intercept + ((x - self.centre) / self.scale) @ self.slopes
        found: Floats = np.clip(raw, self.low, self.high)
        return found


def fit_proxy(x: Floats, losses: Floats, span: tuple[float, float | None], share: float) -> Proxy:
    """Fit g by ridge regression.

    Args:
        x: (m, k), finite.
        losses: (m,).
        span: Least and largest loss there can be; None for unknown.
        share: About the share of rows that get a label, in [0, 1]. What is constant at one is so
            at all greater ones; slopes that are kept do not depend on it.
    """
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (x - centre) / scale
    mean = float(losses.mean())
    gram = standard.T @ standard + _RIDGE * np.eye(x.shape[1])
    slopes = np.linalg.solve(gram, standard.T @ (losses - mean))
    # Of leaving one row out, by the diagonal of the hat matrix.
    leverage = (standard * np.linalg.solve(gram, standard.T).T).sum(axis=1) + 1 / len(losses)
    left_out = (losses - mean - standard @ slopes) / np.maximum(1 - leverage, 1e-9)
    # Widths of the two sequences together, in those of labels alone.
    width = _WIDER * left_out.std() + _WIDEST * math.sqrt(share) * (standard @ slopes).std()
    if not width < _WORTH * losses.std():
        slopes = np.zeros_like(slopes)
    low, high = span
    largest = float(losses.max()) if high is None else high
    return Proxy(centre, scale, slopes, mean, low, max(largest, low + 1e-12), high is not None)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of the powers of values less a guess, at some numbers of values.

    Attributes:
        counts: (looks,).
        powers: Of the first to the fourth power, (looks,) each.
    """

    counts: NDArray[np.int64]
    powers: tuple[Floats, ...]

    @staticmethod
    def of(values: Floats, guess: float, counts: NDArray[np.int64] | None = None) -> Sums:
        """Return those of the first `counts` values; of all (n,) by default."""
        if counts is None:
            counts = np.array([len(values)])
        # So that the sum of the first 0 is 0.
        x = np.append(values - guess, 0.0)
        return Sums(counts, tuple(np.cumsum(x**power)[counts - 1] for power in (1, 2, 3, 4)))

    def __add__(self, other: Sums) -> Sums:
        powers = zip(self.powers, other.powers, strict=True)
        return Sums(self.counts + other.counts, tuple(a + b for a, b in powers))


@dataclass(frozen=True, slots=True)
class Powered:
    """A mean loss over all rows, (looks,) each.

    Attributes:
        value: Estimate.
        lower: Lower end of the interval.
        upper: Upper end; infinity where the largest loss is not known.
    """

    value: Floats
    lower: Floats
    upper: Floats


def powered_mean(
    proxy: Proxy,
    every: Sums,
    labelled: Floats,
    losses: Floats,
    alpha: float,
    counts: NDArray[np.int64] | None = None,
) -> Powered:
    """Return the mean loss over all rows.

    Args:
        proxy: g.
        every: Of g of all rows but those that it was fitted on, less `proxy.intercept`.
        labelled: g of the labelled rows but those, (n,).
        losses: Their losses, (n,), in the order in which the labels came.
        alpha: Probability that any interval, ever, leaves the mean out.
        counts: Labelled rows at each look of `every`, (looks,); n by default.

    Raises:
        ValueError: There is no row of either.
    """
    if not every.counts.all() or not len(losses):
        raise ValueError("there are no rows")
    width = proxy.high - proxy.low
    share = 0.0 if proxy.is_constant else alpha * _SHARE_ALL
    if proxy.is_constant:
        mean = np.full(len(every.counts), proxy.intercept)
        all_low, all_high = mean, mean
    else:
        mean, all_low, all_high = _running(every, share, width, proxy.intercept)
    rest = losses - labelled
    gap, gap_low, gap_high = _running(Sums.of(rest, 0.0, counts), alpha - share, width, 0.0)
    if proxy.bounded:
        upper = all_high + gap_high
    else:
        cut = Sums.of(np.minimum(rest, _REACH * width), 0.0, counts)
        _, gap_low, _ = _running(cut, alpha - share, width, 0.0)
        upper = np.full(len(gap), math.inf)
    return Powered(mean + gap, np.maximum(all_low + gap_low, proxy.low), upper)


def _running(sums: Sums, alpha: float, width: float, guess: float) -> tuple[Floats, Floats, Floats]:
    """Return the running mean of values, and both ends of its confidence sequence, (looks,).

    The lower end is valid where no value is more than `width` below `guess`, and the upper one
    where none is more above it.
    """
    first, second, third, fourth = sums.powers
    mean = guess + first / sums.counts
    below = bound((second, third, fourth), width, alpha / 2) / sums.counts
    above = bound((second, -third, fourth), width, alpha / 2) / sums.counts
    return mean, mean - below, mean + above
