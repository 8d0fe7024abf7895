"""Fixed weights: the policy of A/B tests and canaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops.policies.base import Credit, State


class Weighted:
    """Draws by the weights of the spec, whatever happens.

    Args:
        weights: (k,) shares in [0, 1] that sum to 1.

    Attributes:
        learns: Never.
    """

    learns = False

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = tuple(weights)

    def probabilities(self, _context: Mapping[str, Any], _state: State, /) -> Sequence[float]:
        """See `Policy.probabilities`."""
        return self._weights

    def update(self, state: State, _credits: Sequence[Credit], /) -> State:
        """See `Policy.update`."""
        return state
