"""Softmax: better arms more often, by how much better they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlops.policies.learning import Learning, between, not_below_zero, spread
from mlops.policies.tally import Memory, Tally


class Softmax(Learning):
    """Probabilities that grow as exp(mean / temperature), in units of the rewards' spread.

    Boltzmann exploration; Cesa-Bianchi, Gentile, Lugosi and Neu (NeurIPS 2017, arXiv 1705.10257)
    show that a temperature that falls alike for all arms may settle on the wrong one. The floor
    keeps it from settling for good.

    Args:
        weights: See `Learning`.
        temperature: In standard deviations of the rewards, above 0.
        half_life: Rewards after which the temperature is half of that, a third after twice as
            many...; 0 for one that stays.
        options: See `Learning`.
    """

    name = "softmax"

    def __init__(
        self,
        weights: Sequence[float],
        *,
        temperature: float = 0.1,
        half_life: float = 0.0,
        **options: Any,  # noqa: ANN401 - see `Learning`
    ) -> None:
        super().__init__(weights, **options)
        between("temperature", temperature, 0, math.inf)
        not_below_zero("half-life", half_life)
        self._temperature, self._half_life = temperature, half_life

    def shares(self, tallies: Sequence[Tally], memory: Memory) -> Sequence[float]:
        """See `Learning.shares`."""
        unit = spread(tallies)
        decay = 1 + memory.count / self._half_life if self._half_life > 0 else 1.0
        top = max(tally.mean for tally in tallies)
        heat = self._temperature * unit / decay
        if not heat:
            best = [tally.mean == top for tally in tallies]
            return [won / sum(best) for won in best]
        powers = [math.exp((tally.mean - top) / heat) for tally in tallies]
        return [power / sum(powers) for power in powers]
