"""What each arm has earned, as far as it is still to count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops.policies.base import Credit

#: A window is forgotten in so many parts.
_BLOCKS = 20


@dataclass(slots=True)
class Tally:
    """Rewards of one arm.

    Attributes:
        n: How many; less than that where old ones count less.
        total: Their sum.
        squares: Sum of their squares.
    """

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """Their mean; 0 without any."""
        return self.total / self.n if self.n else 0.0

    @property
    def scatter(self) -> float:
        """Sum of squared deviations from their mean."""
        return max(0.0, self.squares - self.total * self.mean)


class Memory:
    """Rewards by arm: all of them, the last ones, or with less weight the older they are.

    Discounting multiplies everything by `discount` with each reward of any arm (discounted UCB,
    Garivier and Moulines, ALT 2011, arXiv 0805.3415). A window keeps the last `window` rewards of
    all arms together (sliding-window UCB, same paper) and drops them in blocks of a twentieth, so
    that its size does not depend on it.

    Args:
        arms: Number of arms.
        discount: In (0, 1]; 1 for no discounting.
        window: Number of rewards; 0 for all.
        parameters: As `to_json` gives them; empty for a new memory.

    Attributes:
        seen: Rewards of each arm that were ever taken in.
        binary: Whether all of them were 0 or 1.
    """

    def __init__(
        self, arms: int, discount: float, window: int, parameters: Mapping[str, Any]
    ) -> None:
        self._arms, self._discount, self._window = arms, discount, window
        self._block = -(-window // _BLOCKS) if window else 0
        self.seen: list[int] = list(parameters.get("seen", [0] * arms))
        self.binary = bool(parameters.get("binary", True))
        self._tallies = [Tally(*each) for each in parameters.get("arms", [()] * arms)]
        # Each block: its number of rewards, and n, total, squares of every arm.
        self._blocks: list[list[float]] = [list(each) for each in parameters.get("blocks", [])]

    @property
    def count(self) -> int:
        """Rewards ever taken in."""
        return sum(self.seen)

    def add(self, earned: Iterable[Credit]) -> None:
        """Take in rewards, in their order."""
        for credit in earned:
            self.seen[credit.arm] += 1
            self.binary = self.binary and credit.reward in (0.0, 1.0)
            if self._block:
                self._add_to_block(credit)
                continue
            if self._discount < 1:
                for tally in self._tallies:
                    tally.n *= self._discount
                    tally.total *= self._discount
                    tally.squares *= self._discount
            tally = self._tallies[credit.arm]
            tally.n += 1
            tally.total += credit.reward
            tally.squares += credit.reward**2

    def tallies(self) -> Sequence[Tally]:
        """Return what counts now, by arm."""
        if not self._block:
            return self._tallies
        sums = [math.fsum(column) for column in zip(*self._blocks, strict=True)][1:]
        sums = sums or [0.0] * (3 * self._arms)
        return [Tally(*sums[3 * arm : 3 * arm + 3]) for arm in range(self._arms)]

    def of_arms(self, arms: Sequence[int | None]) -> Memory:
        """Return what is known of these arms; of None nothing is."""
        blocks = [
            [block[0], *(value for arm in arms for value in _three(block[1:], arm))]
            for block in self._blocks
        ]
        tallies = [self._tallies[arm] if arm is not None else Tally() for arm in arms]
        told = {
            "seen": [self.seen[arm] if arm is not None else 0 for arm in arms],
            "binary": self.binary,
            "arms": [[each.n, each.total, each.squares] for each in tallies],
            "blocks": blocks,
        }
        return Memory(len(arms), self._discount, self._window, told)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        told: dict[str, Any] = {"seen": self.seen, "binary": self.binary}
        if self._block:
            return told | {"blocks": self._blocks}
        return told | {"arms": [[each.n, each.total, each.squares] for each in self._tallies]}

    def _add_to_block(self, credit: Credit) -> None:
        if not self._blocks or self._blocks[-1][0] >= self._block:
            self._blocks.append([0.0] * (1 + 3 * self._arms))
            del self._blocks[:-_BLOCKS]
        block, at = self._blocks[-1], 1 + 3 * credit.arm
        block[0] += 1
        block[at] += 1
        block[at + 1] += credit.reward
        block[at + 2] += credit.reward**2


def _three(values: Sequence[float], arm: int | None) -> Sequence[float]:
    return values[3 * arm : 3 * arm + 3] if arm is not None else (0.0, 0.0, 0.0)
