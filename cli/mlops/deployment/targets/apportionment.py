"""Shares as whole numbers, for platforms that take no others.

Property: the numbers sum to the total; 0 stays 0, whatever the others are; each number is within 1
of the exact one; equal shares differ by 1 at most. Method: largest remainder (Hamilton). A platform
that gets 0 for an arm that was to have a little, or rounds 0 up, runs another experiment than the
one that is analysed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def whole(weights: Sequence[float], total: int) -> list[int]:
    """Turn shares into whole numbers that sum to `total`.

    Args:
        weights: Not negative, and not all 0.
        total: What they are to sum to.

    >>> whole([0.5, 0.5], 100), whole([1, 1, 1], 100), whole([0.999, 0.001, 0], 100)
    ([50, 50], [34, 33, 33], [100, 0, 0])
    """
    exact = [Fraction(weight) for weight in weights]
    parts = [weight * total / sum(exact) for weight in exact]
    numbers = [int(part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda i: (numbers[i] - parts[i], i))
    for index in by_remainder[: total - sum(numbers)]:
        numbers[index] += 1
    return numbers


def too_small(weights: Sequence[float], total: int) -> list[int]:
    """Return the positions of shares above 0 that would become 0.

    >>> too_small([0.999, 0.001], 100)
    [1]
    """
    numbers = whole(weights, total)
    return [i for i, weight in enumerate(weights) if weight > 0 and numbers[i] == 0]


def finest(weights: Sequence[float], most: int) -> list[int]:
    """Turn shares into relative whole numbers, small ones where they are exact.

    Args:
        weights: Not negative, and not all 0.
        most: What the numbers may sum to.

    >>> finest([0.9, 0.1], 1_000_000), finest([1 / 3, 2 / 3], 1_000_000)
    ([90, 10], [333333, 666667])
    """
    total = 100
    while total < most:
        if all(math.isclose(w * total, round(w * total), abs_tol=1e-9) for w in weights):
            break
        total *= 10
    return whole(weights, min(total, most))
