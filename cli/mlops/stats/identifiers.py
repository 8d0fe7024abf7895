"""Whether whole numbers are ids: what tells rows apart, and measures nothing.

Symbols: n values, of which the central half, by size, is h = n / 2 values in a range of R whole
numbers.

Different they nearly all are; so may be amounts. They are taken for ids where, beside that,

- the name of the column says so: it ends in `id`, `number` or the like, or begins
  with the word `id`; or
- none occurs twice where chance alone would repeat some: of h values drawn from R, about
  h^2 / (2 R) pairs are equal, and that none is has a probability of about exp(-h^2 / (2 R)) at most
  (the birthday problem; values that are not equally likely repeat more); or
- all have the same number of digits, and at least `LEAST_DIGITS`, as accounts and phones have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.stats.profiles import (
    DISTINCT,
    MAX_SAMPLE,
    FeatureProfile,
    distinct_feature,
    profile_feature,
)

#: Digits of which whole numbers are ids, where all have as many.
LEAST_DIGITS = 9
# Pairs that chance would make equal: exp(-10) is 5 in 100,000.
_PAIRS = 10.0
# Many names are written as one word, as `customerid` and `custno`. What is wrongly taken for an id
# only loses its percentiles; what is wrongly kept is someone's number.
_NAME = re.compile(
    r"(?:id|uuid|guid|iban|ssn|nr|no|number|nummer|numero|key|phone|msisdn|imei)s?$"
    r"|^(?:id|uuid|guid)s?(?:[^a-z]|$)"
)
# Words that end so, and say what was measured.
_MEASURED = re.compile(r"(?:paid|bid|acid|fluid|liquid|solid|grid|void|valid|humid)s?$")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def are_ids(values: NDArray[np.float64], name: str = "") -> bool:
    """Return whether numbers are ids.

    Args:
        values: (n,) without missing ones.
        name: Name of the column.

    >>> are_ids(np.arange(100.0)), are_ids(np.round(np.geomspace(1, 1e7, 100)), "price")
    (True, False)
    >>> are_ids(np.round(np.geomspace(1, 1e7, 100)), "customerId")
    True
    """
    whole = len(values) > 0 and bool(np.isfinite(values).all() and (values == values.round()).all())
    if not whole or (count := len(np.unique(values))) < DISTINCT * len(values):
        return False
    words = _WORDS.sub("_", name).lower()
    if _NAME.search(words) and not _MEASURED.search(words):
        return True
    low, high = np.quantile(values, [0.25, 0.75])
    if count == len(values) and (count / 2) ** 2 >= 2 * _PAIRS * max(1.0, high - low):
        return True
    least = float(values.min())
    too_short = least < 10.0 ** (LEAST_DIGITS - 1)
    return not too_short and float(values.max()) < 10.0 ** len(str(int(least)))


def profile_column(
    name: str, values: Sequence[Any] | NDArray[Any], sample: int = MAX_SAMPLE
) -> FeatureProfile:
    """Describe a column of training data: as `profile_feature`, and ids as what is distinct.

    Args:
        name: Its name.
        values: (n,) any values.
        sample: Most numbers of the sample.
    """
    found = profile_feature(values, sample)
    if found.kind != "number":
        return found
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return found
    numbers = numbers[~np.isnan(numbers)]
    if not are_ids(numbers, name):
        return found
    return distinct_feature(found.count, found.missing, len(np.unique(numbers)))
