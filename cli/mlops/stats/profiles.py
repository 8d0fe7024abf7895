r"""A reference profile: what a table looked like when a model was trained on it.

Later rows are compared with it to see whether the world still looks like the training data, so
what is kept is what such comparisons need: of each feature for itself, and no row of the table.

Symbols: a feature has `n` values, of which `n_missing` are missing (None, NaN, NaT). The finite
numbers among the others are x_(1) <= … <= x_(m).

- Percentiles are those of the empirical distribution function: the k-th is x_(ceil(k m / 100)), the
  0-th is x_(1). They are values that occurred, never between two of them; NumPy calls this
  `inverted_cdf` (Hyndman and Fan 1996, definition 1). 101 of them give the distribution function to
  within 0.01, which is what a Kolmogorov-Smirnov distance or a population stability index needs.
- The histogram has bins of equal width from x_(1) to x_(m), each closed on the left and open on the
  right, the last closed on both sides. A constant has one bin of width 0.
- A sample without replacement of the finite numbers, in ascending order, is what an exact test
  needs: it has the ties that percentiles hide. Which numbers are in it follows from them.
- Infinities are counted apart; they are in neither, nor in mean and standard deviation.
- Categories are kept most frequent first, ties in the order of their text, up to a limit; all
  others are counted as `other`. A text longer than `MAX_TEXT` is never kept: it is prose. Where
  there are more than the limit, one that fewer than `LEAST_ROWS` rows have is not kept either.
- A value that nearly every row has for itself says who a row is about. Of a feature `distinct`
  nothing but counts is kept: texts of which at least `DISTINCT` of n are different, or the
  categories to be named are below `LEAST_NAMED` of n; and whole numbers of which as many are
  different and which are ids, see `mlops.stats.identifiers`.

Times become seconds since 1970 in UTC; one without a zone is taken as UTC.
"""

from __future__ import annotations

import datetime as dt
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: number, boolean (true and false), category (text), time, mixed (values of several kinds, written
#: as text), empty (nothing but missing values), distinct (texts or ids, nearly all different),
#: hidden (only counted, as its values are to be kept nowhere).
Kind = Literal["number", "boolean", "category", "time", "mixed", "empty", "distinct", "hidden"]

#: Bins of a histogram.
BINS = 20
#: Numbers of the sample.
MAX_SAMPLE = 10_000
#: Categories that are named.
MAX_CATEGORIES = 50
#: Characters of the longest category that is named.
MAX_TEXT = 100
#: Share of different texts from which a feature is `distinct`.
DISTINCT = 0.8
#: Where there are more categories than are named: rows that one has at least, and the share of all
#: values that those named have.
LEAST_ROWS, LEAST_NAMED = 5, 0.1
_PERCENT = 100
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The numbers of a feature.

    Attributes:
        minimum: Smallest finite value.
        maximum: Largest finite value.
        mean: Arithmetic mean; infinite where the sum is beyond what a float can hold.
        deviation: Standard deviation of a sample, divisor m - 1; NaN for a single value, and
            infinite as the mean.
        percentiles: 101 values, the 0-th to the 100-th percentile.
        edges: k + 1 edges of the k bins of the histogram.
        counts: k numbers of values.
        infinite: Numbers of values that are minus and plus infinity.
        sample: Finite values drawn without replacement, ascending; profiles of versions before
            0.2 have none.
    """

    minimum: float
    maximum: float
    mean: float
    deviation: float
    percentiles: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    infinite: tuple[int, int]
    sample: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Categories:
    """The texts of a feature.

    Attributes:
        counts: Text to number of times, most frequent first, `MAX_CATEGORIES` at most; none of a
            feature that is `distinct`.
        other: How often anything else occurred.
        distinct: How many different ones there are in all.
    """

    counts: Mapping[str, int]
    other: int
    distinct: int


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """One feature.

    Attributes:
        kind: What its values are.
        count: Values that are not missing.
        missing: Values that are.
        numbers: Of a number or a time; None without a finite one.
        categories: Of a boolean, a category, a mixture or what is distinct, else None.
    """

    kind: Kind
    count: int
    missing: int
    numbers: Distribution | None = None
    categories: Categories | None = None


def profile_feature(
    values: Sequence[Any] | NDArray[Any], sample: int = MAX_SAMPLE
) -> FeatureProfile:
    """Describe one feature.

    Args:
        values: (n,) any values; an array of numbers or booleans is fastest.
        sample: Most numbers of the sample.

    >>> profile_feature([1, 2, 2, None]).numbers.percentiles[50]
    2.0
    >>> profile_feature(["red", "white", "red", None]).categories.counts
    {'red': 2, 'white': 1}
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        floats = values.astype(float)
        there = floats[~np.isnan(floats)]
        return _numeric("number", there, len(floats) - len(there), sample)
    if isinstance(values, np.ndarray):
        values = _python(values)
    present = [value for value in values if not _is_missing(value)]
    missing = len(values) - len(present)
    kind = _kind(present)
    if kind == "empty":
        return FeatureProfile(kind, 0, missing)
    if kind in ("number", "time"):
        convert = _seconds if kind == "time" else _float
        numbers = np.array([convert(v) for v in present], dtype=float)
        return _numeric(kind, numbers, missing, sample)
    categories = _categories(present)
    if kind != "boolean" and _tells_rows_apart(categories, len(present)):
        return distinct_feature(len(present), missing, categories.distinct)
    return FeatureProfile(kind, len(present), missing, categories=categories)


def distinct_feature(count: int, missing: int, distinct: int) -> FeatureProfile:
    """Describe a feature of which nearly every value is another, without any of them."""
    return FeatureProfile("distinct", count, missing, categories=Categories({}, count, distinct))


def hidden_feature(values: Sequence[Any] | NDArray[Any]) -> FeatureProfile:
    """Count the values of a feature that are to be kept nowhere.

    >>> hidden_feature(["Ada", None])
    FeatureProfile(kind='hidden', count=1, missing=1, numbers=None, categories=None)
    """
    found = profile_feature(values, 0)
    return FeatureProfile("hidden", found.count, found.missing)


def _tells_rows_apart(categories: Categories, count: int) -> bool:
    named = count - categories.other
    too_many = categories.distinct > MAX_CATEGORIES and named < LEAST_NAMED * count
    return too_many or categories.distinct >= DISTINCT * count


def _python(values: NDArray[Any]) -> list[Any]:
    """Turn an array into Python's own values; times finer than microseconds have none."""
    if values.dtype.kind == "M":
        values = values.astype("datetime64[us]")
    listed: list[Any] = values.tolist()
    return listed


def _is_missing(value: object) -> bool:
    if value is None or isinstance(value, str):
        return value is None
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    # pandas' NaT is a datetime that has no time.
    return isinstance(value, float | np.floating | dt.datetime) and value != value


def _kind(present: Sequence[Any]) -> Kind:
    kinds = {_kind_of(value) for value in present}
    if len(kinds) > 1:
        return "mixed"
    return kinds.pop() if kinds else "empty"


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, int | float | Decimal | np.integer | np.floating):
        return "number"
    if isinstance(value, dt.date | np.datetime64):
        return "time"
    return "category" if isinstance(value, str) else "mixed"


def _float(value: Any) -> float:  # noqa: ANN401 - a number
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _seconds(value: Any) -> float:  # noqa: ANN401 - a time
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    zoned = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    return float((zoned - _EPOCH).total_seconds())


def _numeric(kind: Kind, values: NDArray[np.float64], missing: int, sample: int) -> FeatureProfile:
    if not len(values):
        return FeatureProfile("empty", 0, missing)
    infinite = (int(np.sum(values == -np.inf)), int(np.sum(values == np.inf)))
    finite = np.sort(values[np.isfinite(values)])
    numbers = _distribution(finite, infinite, sample) if len(finite) else None
    return FeatureProfile(kind, len(values), missing, numbers=numbers)


def _distribution(
    ordered: NDArray[np.float64], infinite: tuple[int, int], sample: int
) -> Distribution:
    m = len(ordered)
    ranks = [max(0, -(-k * m // _PERCENT) - 1) for k in range(_PERCENT + 1)]
    edges = _edges(float(ordered[0]), float(ordered[-1]))
    below = np.searchsorted(ordered, edges, side="left")
    below[-1] = m
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean(ordered))
        deviation = float(np.std(ordered, ddof=1)) if m > 1 else math.nan
    return Distribution(
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        mean=mean,
        deviation=deviation,
        percentiles=tuple(ordered[ranks].tolist()),
        edges=tuple(edges.tolist()),
        counts=tuple(np.diff(below).tolist()),
        infinite=infinite,
        sample=_sample(ordered, sample),
    )


def _sample(ordered: NDArray[np.float64], size: int) -> tuple[float, ...]:
    if len(ordered) > size:
        generator = np.random.default_rng(zlib.crc32(ordered.tobytes()))
        ordered = np.sort(generator.choice(ordered, size, replace=False, shuffle=False))
    return tuple(ordered.tolist())


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """Return edges that grow strictly, except for a constant: fewer where floats are too coarse."""
    if low == high:
        return np.array([low, high])
    shares = np.arange(BINS + 1) / BINS
    # Not `low + shares * (high - low)`: that difference may be more than a float can hold.
    edges = np.clip(low * (1 - shares) + high * shares, low, high)
    edges[0], edges[-1] = low, high
    return np.unique(edges)


def _categories(present: Sequence[Any]) -> Categories:
    texts = Counter(_text(value) for value in present)
    ordered = sorted(texts.items(), key=lambda item: (-item[1], item[0]))
    least = LEAST_ROWS if len(texts) > MAX_CATEGORIES else 1
    short = [item for item in ordered if len(item[0]) <= MAX_TEXT and item[1] >= least]
    kept = dict(short[:MAX_CATEGORIES])
    return Categories(kept, other=len(present) - sum(kept.values()), distinct=len(texts))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)
