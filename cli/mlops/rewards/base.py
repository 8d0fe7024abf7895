"""The contract of a reward."""

from __future__ import annotations

from typing import Protocol, TypeAlias

#: One value as JSON has it.
Value: TypeAlias = bool | int | float | str | None


class Reward(Protocol):
    """A pure function of one row's prediction and truth."""

    def __call__(self, prediction: Value, truth: Value) -> float:
        """Return the reward, finite, higher is better.

        Raises:
            ValueError: These two values have none; the message says why.
        """
        ...
