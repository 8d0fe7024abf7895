"""What all policies that learn share: a warm-up, a floor, and a memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mlops.errors import InvalidInputError
from mlops.policies.base import Credit, State
from mlops.policies.tally import Memory, Tally

#: How fast the exploring part of `explore="mad"` shrinks: slower than t to the power of -1/4.
_MAD_POWER = -0.24


class Learning(ABC):
    """Draws by what arms have earned, with a floor under every arm.

    The probabilities of an epoch are computed once, when rewards are folded in, and are in its
    state: the arm is drawn by them, so what is logged with a decision is exact.

    Every arm keeps some probability forever: without, nothing new could be learnt of it, and no
    estimate could divide by it. With `explore="mad"` that part is uniform over the arms and shrinks
    slowly enough for confidence sequences to close whatever the policy does: the mixture adaptive
    design of Liang and Bojinov, arXiv 2311.05794 (delta_t = omega(t^-1/4), section 3).

    Args:
        weights: (k,) shares in (0, 1] that sum to 1, in force during the warm-up.
        floor: Least probability of an arm, in (0, 1/k].
        warm_up: Rewards of each arm before anything is concluded from them.
        discount: Weight of a reward after one more, in (0, 1]; below 1 for a changing world.
        window: Only so many last rewards count; 0 for all. Not with `discount`.
        explore: `floor`, or `mad` for the larger of it and the mixture's part.
        batch: Probabilities change after so many more rewards at least; 0 for as soon as they do.
        freeze: Whether they stay as they are. Rewards that come while frozen are learnt from later.
        reset: Another number than before forgets all that was learnt: only what revisions with the
            same number have served counts.

    Raises:
        InvalidInputError: A value is outside of what it can be.

    Attributes:
        learns: Always.
        frozen: As `freeze`.
        reset: As given.
    """

    learns = True
    name: ClassVar[str]

    def __init__(
        self,
        weights: Sequence[float],
        *,
        floor: float = 0.05,
        warm_up: int = 10,
        discount: float = 1.0,
        window: int = 0,
        explore: str = "floor",
        batch: int = 0,
        freeze: bool = False,
        reset: int = 0,
    ) -> None:
        arms = len(weights)
        between("floor", floor, 0, 1 / arms, f"1 over the number of arms, {arms}")
        between("discount", discount, 0, 1)
        if type(window) is not int or type(warm_up) is not int or min(window, warm_up) < 0:
            raise InvalidInputError("`window` and `warm_up` are numbers of rewards, 0 or more.")
        if type(batch) is not int or type(reset) is not int or min(batch, reset) < 0:
            raise InvalidInputError("`batch` and `reset` are whole numbers, 0 or more.")
        if type(freeze) is not bool:
            raise InvalidInputError(f"`freeze` is true or false, not `{freeze}`.")
        if window and discount < 1:
            raise InvalidInputError("`window` and `discount` both forget: choose one.")
        if explore not in ("floor", "mad"):
            raise InvalidInputError(f"`explore` is `floor` or `mad`, not `{explore}`.")
        if arms > 1 and min(weights) <= 0:
            raise InvalidInputError("A policy that learns needs a weight above 0 for every arm.")
        self.frozen, self.reset, self._batch = freeze, reset, batch
        self._weights = tuple(weights)
        self._floor, self._warm_up = floor, warm_up
        self._discount, self._window, self._mad = discount, window, explore == "mad"

    def probabilities(self, _context: Mapping[str, Any], state: State, /) -> Sequence[float]:
        """See `Policy.probabilities`."""
        return state.probabilities if state.parameters else self._weights

    def update(self, state: State, earned: Sequence[Credit], /) -> State:
        """See `Policy.update`."""
        if not earned or self.frozen:
            return state
        memory = Memory(len(self._weights), self._discount, self._window, state.parameters)
        memory.add(earned)
        return self._state(state.epoch + 1, memory)

    def waits(self, before: State, now: State, /) -> bool:
        """See `mlops.policies.base.Paced`."""
        known, seen = (sum(each.parameters.get("seen", ())) for each in (before, now))
        return bool(abs(seen - known) < self._batch)

    @property
    def memory(self) -> str:
        """See `mlops.policies.base.Carries`."""
        return f"tallies discount={float(self._discount)!r} window={self._window}"

    def carry(self, state: State, arms: Sequence[int | None], /) -> State:
        """See `mlops.policies.base.Carries`."""
        memory = Memory(len(state.probabilities), self._discount, self._window, state.parameters)
        return self._state(state.epoch, memory.of_arms(arms))

    @abstractmethod
    def shares(self, tallies: Sequence[Tally], memory: Memory) -> Sequence[float]:
        """Return what the policy would do without a floor, (k,); every arm has a reward."""

    def _state(self, epoch: int, memory: Memory) -> State:
        tallies = memory.tallies()
        # A window may have forgotten all there was of an arm: then it is unknown once more.
        known = min(memory.seen) >= self._warm_up and all(tally.n > 0 for tally in tallies)
        shares = self._weights
        if known:
            shares = self._with_part(self.shares(tallies, memory), self._part(memory.count))
        return State(epoch, shares, memory.to_json())

    def _part(self, count: int) -> float:
        """Return the part of the requests that explores, after so many rewards."""
        part = len(self._weights) * self._floor
        return max(part, float(count) ** _MAD_POWER) if self._mad else part

    @staticmethod
    def _with_part(shares: Sequence[float], part: float) -> tuple[float, ...]:
        """Spread the part that explores over all arms."""
        return tuple(part / len(shares) + (1 - part) * share for share in shares)


def between(name: str, value: float, low: float, high: float, why: str = "") -> None:
    """Check a number.

    Raises:
        InvalidInputError: It is not above `low` and at most `high`.
    """
    if not low < value <= high or value == math.inf:
        raise InvalidInputError(
            f"`{name}` is above {low:g} and at most {high:g}{f' ({why})' if why else ''}, "
            f"not {value:g}."
        )


def not_below_zero(name: str, value: float) -> None:
    """Check a number for which 0 means another rule.

    Raises:
        InvalidInputError: It is below 0, or not finite.
    """
    if not 0 <= value < math.inf:
        raise InvalidInputError(f"`{name}` is 0 or more and finite, not {value:g}.")


def share_among_best(values: Sequence[float]) -> list[float]:
    """Give everything to the highest value, in equal parts where several are.

    >>> share_among_best([1.0, 3.0, 3.0])
    [0.0, 0.5, 0.5]
    """
    best = max(values)
    winners = [value == best for value in values]
    return [won / sum(winners) for won in winners]


def spread(tallies: Sequence[Tally]) -> float:
    """Return the standard deviation of rewards around the means of their arms; 0 without any."""
    n = sum(tally.n for tally in tallies)
    return (sum(tally.scatter for tally in tallies) / n) ** 0.5 if n else 0.0
