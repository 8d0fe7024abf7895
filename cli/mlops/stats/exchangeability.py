r"""A test, valid at every look, of whether new values come from where reference values came from.

Symbols: the reference has n values. Order statistics of it, whose ranks depend on n alone, cut the
line into K bins; bin k holds a_k of the n + 1 gaps that the reference leaves, so the a_k sum to
A = n + 1. Of the m values of a block c_k fall into bin k; t values came before it.

Where reference and new values are exchangeable and have no ties, the rank of each new value among
all before it is uniform (the conformal p-value of Vovk, Gammerman, Shafer, Algorithmic Learning in
a Random World, 2005, section 2.9). So the bins of new values follow a Polya urn that starts with
a_k balls of colour k, whatever the distribution is, and a block has the exact probability

    P = Gamma(A + t) / Gamma(A + t + m) * prod of Gamma(a_k + t_k + c_k) / Gamma(a_k + t_k)

given the counts t_k before. Ties are broken at random on both sides, with which discrete values
have none. The test bets against P: with any probabilities q_k that are fixed before the block,
R = prod of q_k^c_k / P has mean 1. Here q_k are shares of the recent past, for several lengths of
memory and several ways to join neighbouring bins; each pair is an expert.

A change may come at any time, so capital is kept back for later: before block b the share
w_b = 1 / (C (b + 2) log(b + 2)^2) of it is put on each expert (a Shiryaev-Roberts sum with a prior;
Shin, Ramdas, Rinaldo, E-detectors, arXiv 2203.03532, turned from a run length to a probability),

    M_b = R_b (M_(b-1) + w_b),      E_b = 1 - (w_0 + ... + w_b) + mean of M_b over the experts.

E is a non-negative martingale with mean 1. By Ville's inequality P(E ever reaches 1 / alpha) is at
most alpha without a change, over unlimited time; the mean of the E of several features is such a
martingale too, however they depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

_LEAST_BLOCK, _LARGEST_BLOCK, _GROWTH = 50, 1_000, 40
_MEMORY = np.array([300.0, 3_000.0, 30_000.0])
#: Weight of the reference in an expert's shares, in values.
_PRIOR = 20.0
_TAIL = np.array([0.0, 0.005, 0.01, 0.02, 0.05])
_LEVELS = np.concatenate([_TAIL, np.arange(1, 10) / 10, 1 - _TAIL[::-1]])
#: Most bins of a feature.
MAX_BINS = len(_LEVELS) + 1
# E stays a number, which JSON has and infinity is not.
_LARGEST_LOG = 700.0
#: Sum over b >= 0 of 1 / ((b + 2) log(b + 2)^2).
_TOTAL_WEIGHT = 2.109742801236892


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins cut by values of the reference, each with a number between 0 and 1 that breaks ties.

    Attributes:
        edges: (K - 1,) ascending.
        ties: (K - 1,) what breaks ties, ascending where edges are equal.
        gaps: (K,) a_k.
    """

    edges: NDArray[np.float64]
    ties: NDArray[np.float64]
    gaps: NDArray[np.float64]

    def place(self, values: NDArray[np.float64], ties: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the bin of each value.

        Args:
            values: (m,) without NaN.
            ties: (m,) uniform in [0, 1).
        """
        low = np.searchsorted(self.edges, values, side="left")
        equal = np.searchsorted(self.edges, values, side="right") - low
        place = low.copy()
        for step in range(int(equal.max(initial=0))):
            at = np.minimum(low + step, len(self.edges) - 1)
            place += (step < equal) & (self.ties[at] < ties)
        return place


def cut(reference: NDArray[np.float64], seed: int = 0) -> Bins:
    """Cut the line by a reference.

    Bins are narrower in the tails, and what is below the least or above the largest value has bins
    of its own. Ranks chosen by what the values are, for example to give each of few different
    values a bin, would know more than the urn does.

    Args:
        reference: (n,) without NaN, n >= 2, in any order.
        seed: Breaks the ties.

    >>> cut(np.arange(9.0)).gaps
    array([1., 1., 1., 1., 1., 1., 1., 1., 1., 1.])
    """
    ties = np.random.default_rng(seed).random(len(reference))
    order = np.lexsort((ties, reference))
    values, ties = reference[order], ties[order]
    n = len(values)
    ranks = np.unique((_LEVELS * (n - 1)).round().astype(np.int64))
    gaps = np.diff(ranks, prepend=-1, append=n)
    return Bins(values[ranks], ties[ranks], gaps.astype(np.float64))


def block_size(before: int) -> int:
    """Return m, which grows with t: a bet is renewed often at first and cheaply later."""
    return min(max(_LEAST_BLOCK, before // _GROWTH), _LARGEST_BLOCK)


class Exchangeability:
    """E of one stream of values.

    Args:
        gaps: (K,) a_k, see `Bins`.

    Attributes:
        seen: t.
        blocks: b.
    """

    def __init__(self, gaps: NDArray[np.float64]) -> None:
        self._urn = gaps.astype(np.float64)
        self._joins = _joins(gaps)
        self._recent = np.zeros((len(_MEMORY), len(gaps)))
        self._log_m = np.full((len(self._joins), len(_MEMORY)), -np.inf)
        self._kept = 1.0
        self.seen = 0
        self.blocks = 0

    @property
    def recent(self) -> NDArray[np.float64]:
        """Return (K,) counts of about the last 3,000 values, older ones weighing less."""
        recent: NDArray[np.float64] = self._recent[1]
        return recent

    @property
    def size(self) -> int:
        """Return the m of the block to come."""
        return block_size(self.seen)

    def document(self) -> dict[str, Any]:
        """Return all that it knows, as JSON data."""
        return {
            "urn": self._urn.tolist(),
            "recent": self._recent.tolist(),
            # JSON has no infinity: capital that was never put anywhere is null.
            "log_m": [[None if x == -np.inf else x for x in row] for row in self._log_m.tolist()],
            "kept": self._kept,
            "seen": self.seen,
            "blocks": self.blocks,
        }

    @classmethod
    def restored(cls, gaps: NDArray[np.float64], document: Mapping[str, Any]) -> Exchangeability:
        """Return one that continues from where `document` was written."""
        made = cls(gaps)
        made._urn = np.array(document["urn"], dtype=np.float64)
        made._recent = np.array(document["recent"], dtype=np.float64)
        rows = [[-np.inf if x is None else x for x in row] for row in document["log_m"]]
        made._log_m = np.array(rows, dtype=np.float64)
        made._kept = document["kept"]
        made.seen, made.blocks = document["seen"], document["blocks"]
        return made

    def take(self, counts: NDArray[np.float64]) -> float:
        """Go past one block, and return E after it.

        Args:
            counts: (K,) c_k, which sum to `size`.
        """
        log_m, self._kept = self._after(counts)
        self._log_m = log_m
        m = float(counts.sum())
        fade = np.exp(-m / _MEMORY)[:, None]
        self._recent = fade * self._recent + counts
        self._urn += counts
        self.seen += int(m)
        self.blocks += 1
        return self._value(log_m, self._kept)

    def _after(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        weight = capital_kept(self.blocks)
        log_r = np.empty_like(self._log_m)
        for row, join in enumerate(self._joins):
            urn, c, recent = join @ self._urn, join @ counts, join @ self._recent.T
            total, m = urn.sum(), c.sum()
            log_p = gammaln(total) - gammaln(total + m) + (gammaln(urn + c) - gammaln(urn)).sum()
            # What weighs the past is the urn itself, so that without a change q is near P.
            shares = recent + _PRIOR * (urn / total)[:, None]
            log_r[row] = c @ np.log(shares / shares.sum(axis=0)) - log_p
        return log_r + np.logaddexp(self._log_m, np.log(weight)), self._kept - weight

    @staticmethod
    def _value(log_m: NDArray[np.float64], kept: float) -> float:
        return float(kept + np.exp(np.minimum(log_m, _LARGEST_LOG)).mean())


def capital_kept(block: int) -> float:
    """Return w_b, the share of the capital that is put on before a block; all sum to 1.

    Args:
        block: b, from 0.
    """
    at = block + 2.0
    return float(1.0 / (_TOTAL_WEIGHT * at * np.log(at) ** 2))


def _joins(gaps: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return ways to join K bins, each (k, K) of 0 and 1: not at all, in 6, in 2, outer ones."""
    kinds = len(gaps)
    middle = (np.cumsum(gaps) - gaps / 2) / gaps.sum()
    numbered = [
        np.arange(kinds),
        np.floor(6 * middle).astype(np.int64),
        np.floor(2 * middle).astype(np.int64),
        np.where(np.arange(kinds) == 0, 0, np.where(np.arange(kinds) == kinds - 1, 2, 1)),
    ]
    found: list[NDArray[np.float64]] = []
    for numbers in numbered:
        _, groups = np.unique(numbers, return_inverse=True)
        join = (groups[None, :] == np.arange(groups.max() + 1)[:, None]).astype(np.float64)
        if len(join) > 1 and not any(np.array_equal(join, other) for other in found):
            found.append(join)
    return found
