"""Any model, by permutations: features go from a row of the background to those of x, in an order.

Each row of the background is used twice, with a random order and its reverse (antithetic, which
cancels what is linear in the place; Mitchell et al. 2022, Sampling permutations for Shapley value
estimation). So the base is the mean over the background, with no error, and the shares add up to
f(x) less the base whatever the orders are. The standard error of a share is that of the mean over
the m rows of the background, which treats these as a sample: it is an upper bound where they are
all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.explaining.base import Explanation, Rows, check_additive

#: Gives the explained output of n rows, (n,).
Output = Callable[[Rows, int], NDArray[np.float64]]
_AT_ONCE = 20_000


def explain_by_permutations(
    output: str, ask: Callable[[int], Output], rows: Rows, background: Rows, *, seed: int = 0
) -> Explanation:
    """Explain rows one by one.

    Args:
        output: What is explained, for people.
        ask: Gives what calculates the output that row i is explained by.
        rows: n rows of k columns.
        background: m rows with the same columns.
        seed: Of the orders.

    Raises:
        ProtocolError: The model refuses a mixture of rows.
    """
    names = list(rows)
    n, m = (len(next(iter(each.values()))) for each in (rows, background))
    random = np.random.default_rng(seed)
    shares, errors = np.zeros((n, len(names))), np.zeros((n, len(names)))
    base, outputs = np.zeros(n), np.zeros(n)
    for at in range(n):
        x = {name: rows[name][at] for name in names}
        gains, zeros, ones = _gains(ask(at), x, background, m, random)
        shares[at] = gains.mean(axis=0)
        errors[at] = gains.std(axis=0, ddof=1) / np.sqrt(m) if m > 1 else np.nan
        base[at], outputs[at] = zeros.mean(), ones
    return check_additive("permutations", output, names, base, shares, outputs, errors)


def _gains(
    ask: Output, x: dict[str, Any], background: Rows, m: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return what each feature adds, (m, k), the outputs of the background, (m,), and of x."""
    names = list(x)
    k = len(names)
    orders = [random.permutation(k) for _ in range(m)]
    cells: dict[str, list[Any]] = {name: [] for name in names}
    for z, order in enumerate(orders):
        for path in (order, order[::-1]):
            place = np.empty(k, dtype=np.int64)
            place[path] = np.arange(k)
            for at, name in enumerate(names):
                # After `step` features, those with a place before it are those of x.
                mine, other = x[name], background[name][z]
                cells[name] += [other] * (int(place[at]) + 1) + [mine] * (k - int(place[at]))
    values = _in_parts(ask, cells, 2 * m * (k + 1)).reshape(m, 2, k + 1)
    gains = np.empty((m, k))
    for z, order in enumerate(orders):
        steps = np.diff(values[z], axis=1)
        forth, back = np.empty(k), np.empty(k)
        forth[order], back[order[::-1]] = steps[0], steps[1]
        gains[z] = (forth + back) / 2
    # All paths end at x; a model may give it another last digit beside other rows.
    ends = values[:, :, -1]
    return gains, values[:, :, 0].mean(axis=1), float(ends.mean())


def _in_parts(ask: Output, cells: dict[str, list[Any]], n: int) -> NDArray[np.float64]:
    parts: Sequence[NDArray[np.float64]] = [
        ask(
            {name: column[start : start + _AT_ONCE] for name, column in cells.items()},
            min(_AT_ONCE, n - start),
        )
        for start in range(0, n, _AT_ONCE)
    ]
    return np.concatenate(parts)
