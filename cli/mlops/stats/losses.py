r"""A test, valid at every look, of whether a mean loss is above a limit.

Symbols:
    x_i     losses, not negative, in order
    mu      the limit, positive
    t       size of a bet, in (0, 1)

Null: given the past, each loss has a mean of at most mu; the losses need not be alike, nor
independent, nor bounded. Each factor 1 + t (x_i / mu - 1) is then at least 1 - t > 0 and has a mean
of at most 1, so that their product is a non-negative supermartingale: testing by betting
(Waudby-Smith, Ramdas, arXiv 2010.09686), on the one side on which it needs no upper end. The mean
over several bets t is one too.

Losses may grow at any time, so capital is kept back for later, as in `exchangeability`: before
block b the share w_b is put on each bet, and with R_b the product of the factors of the block

    M_b = R_b (M_(b-1) + w_b),      E_b = 1 - (w_0 + ... + w_b) + mean of M_b over the bets.

By Ville's inequality P(E ever reaches 1 / alpha) is at most alpha under the null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.stats.exchangeability import capital_kept

_BETS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
#: Losses of a block.
BLOCK = 10
_LARGEST_LOG = 700.0


class LossTest:
    """E of one stream of losses.

    Args:
        limit: mu.
    """

    def __init__(self, limit: float) -> None:
        if not limit > 0:
            raise ValueError(f"the limit must be positive, got {limit}")
        self.limit = limit
        self._log_m = np.full(len(_BETS), -np.inf)
        self._waiting: list[float] = []
        self._kept = 1.0
        self._blocks = 0

    def take(self, losses: NDArray[np.float64]) -> Iterator[tuple[int, float]]:
        """Take losses in their order; yield after each block the position of its last, and E.

        Args:
            losses: (n,) finite, at least 0.
        """
        before = len(self._waiting)
        every = np.concatenate([self._waiting, losses])
        whole = len(every) // BLOCK * BLOCK
        # Summed by blocks, so that it is the same to the last digit however they are cut.
        gains = np.log1p(_BETS * (every[:whole, None] / self.limit - 1))
        self._waiting = every[whole:].tolist()
        for at, log_r in enumerate(gains.reshape(-1, BLOCK, len(_BETS)).sum(axis=1)):
            yield (at + 1) * BLOCK - 1 - before, self._close(log_r)

    def _close(self, log_r: NDArray[np.float64]) -> float:
        weight = capital_kept(self._blocks)
        self._log_m = log_r + np.logaddexp(self._log_m, np.log(weight))
        self._kept -= weight
        self._blocks += 1
        return float(self._kept + np.exp(np.minimum(self._log_m, _LARGEST_LOG)).mean())

    def document(self) -> dict[str, Any]:
        """Return all that it knows, as JSON data."""
        return {
            "limit": self.limit,
            "log_m": [None if x == -np.inf else x for x in self._log_m.tolist()],
            "waiting": self._waiting,
            "kept": self._kept,
            "blocks": self._blocks,
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> LossTest:
        """Return one that continues from where `document` was written."""
        made = cls(document["limit"])
        made._log_m = np.array([-np.inf if x is None else x for x in document["log_m"]])
        made._waiting = list(document["waiting"])
        made._kept, made._blocks = document["kept"], document["blocks"]
        return made
