"""What policies share that look at the request: a linear model of the reward for each arm.

Symbols, for arm k on the scale of `mlops.policies.context.Scale`:
    z       (1, x) of a request, (d + 1,)
    A_k     I + sum of z z' over the arm's rewards
    mu_k    inverse(A_k) (sum of z y): the ridge estimate, and the posterior mean under N(0, I)
    s       standard deviation of rewards around their predictions, of all arms together

Where the probabilities depend on the request, they are one of a finite number of vectors that the
journal has as policy epochs of their own, before the first request is drawn by one. A decision
names that epoch, so that its probabilities are known exactly, and all that weighs decisions by
their epoch is right without knowing of any context.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.errors import InvalidInputError
from mlops.policies.base import Credit, State
from mlops.policies.context import MAX_FEATURES, Moments, Scale, features_in
from mlops.policies.learning import Learning
from mlops.policies.tally import Memory, Tally

_Floats: TypeAlias = NDArray[np.float64]
Place: TypeAlias = Callable[[Mapping[str, Any]], int]
#: A policy's parameters are published when there are this many more rewards.
_MORE = 0.02


class Linear(Learning):
    """Draws by what a linear model of each arm says of the request, with a floor under every arm.

    Args:
        weights: See `Learning`.
        features: Names of what it looks at, separated by commas.
        options: See `Learning`; there is no `window`.

    Attributes:
        features: Names of the features.
        shapes: What it would do without a floor: one of these, each (k,).
    """

    def __init__(
        self,
        weights: Sequence[float],
        *,
        features: str = "",
        **options: Any,  # noqa: ANN401 - see `Learning`
    ) -> None:
        super().__init__(weights, **options)
        if self._window:
            raise InvalidInputError(
                f"The policy `{self.name}` keeps no window of single rewards.",
                hint="Use `discount`, such as `discount=0.999`, to forget old ones.",
            )
        self.features = features_in(str(features))
        if len(self.features) > MAX_FEATURES:
            raise InvalidInputError(
                f"The policy `{self.name}` takes up to {MAX_FEATURES} features, "
                f"not {len(self.features)}."
            )
        self.shapes = self.possible(len(self._weights))

    @staticmethod
    @abstractmethod
    def possible(arms: int) -> Sequence[Sequence[float]]:
        """Return all that it might do with so many arms, without a floor."""

    @abstractmethod
    def placing(self, scale: Scale, models: Models) -> Place:
        """Return what tells, for a request, which of `shapes` it is drawn by."""

    def probabilities(self, context: Mapping[str, Any], state: State, /) -> Sequence[float]:
        """See `Policy.probabilities`."""
        place = self.placer(state)
        return super().probabilities({}, state) if place is None else self._vector(
            place(context), self._part_of(state)
        )  # fmt: skip

    def vectors(self, state: State, /) -> Sequence[tuple[float, ...]]:
        """See `Contextual.vectors`."""
        part = self._part_of(state)
        return [self._vector(at, part) for at in range(len(self.shapes))] if part else []

    def placer(self, state: State, /) -> Place | None:
        """See `Contextual.placer`."""
        if not self._part_of(state):
            return None
        scale = Scale(self._moments(state), self.features)
        return self.placing(scale, Models(scale))

    def moved(self, before: State, now: State, /) -> bool:
        """See `Contextual.moved`."""
        known, seen = (sum(each.parameters.get("seen", ())) for each in (before, now))
        if self._part_of(before) == 0 or self._part_of(now) == 0:
            return before.probabilities != now.probabilities or self._part_of(now) > 0
        kept = min(known, 1 / (1 - self._discount) if self._discount < 1 else known)
        return bool(seen - known >= max(_MORE * kept, 1))

    def update(self, state: State, earned: Sequence[Credit], /) -> State:
        """See `Policy.update`."""
        if not earned or self.frozen:
            return state
        moments = self._moments(state)
        moments.add(earned)
        return self._after(state.epoch + 1, moments)

    @property
    def memory(self) -> str:
        """See `mlops.policies.base.Carries`."""
        return f"moments discount={float(self._discount)!r} features={','.join(self.features)}"

    def carry(self, state: State, arms: Sequence[int | None], /) -> State:
        """See `mlops.policies.base.Carries`."""
        before = Moments(len(state.probabilities), self.features, self._discount, state.parameters)
        return self._after(state.epoch, before.of_arms(arms))

    def shares(self, tallies: Sequence[Tally], memory: Memory) -> Sequence[float]:
        """See `Learning.shares`."""
        raise NotImplementedError("a linear policy has no shares without a request")

    def _after(self, epoch: int, moments: Moments) -> State:
        parameters = {**moments.to_json(), "part": 0.0}
        known = min(moments.seen) >= self._warm_up and bool(moments.sums[:, 0, 0].min() > 0)
        if known and Scale(moments, self.features).varies:
            # In steps of a hundredth, so that vectors that shrink are published seldom.
            parameters["part"] = float(f"{self._part(moments.count):.2g}")
        state = State(epoch, self._weights, parameters)
        return State(epoch, tuple(self.probabilities({}, state)), parameters)

    def _moments(self, state: State) -> Moments:
        return Moments(len(self._weights), self.features, self._discount, state.parameters)

    @staticmethod
    def _part_of(state: State) -> float:
        """Return the part that explores; 0 while nothing is concluded."""
        return float(state.parameters.get("part", 0.0))

    def _vector(self, at: int, part: float) -> tuple[float, ...]:
        return self._with_part(self.shapes[at], part)


class Models:
    """The linear models of the arms.

    Attributes:
        means: mu of each arm, (k, d + 1).
        roots: With W of each arm, |W z|^2 is the variance of its prediction, (k, d + 1, d + 1).
    """

    def __init__(self, scale: Scale) -> None:
        arms, size = scale.rewards.shape
        precisions = np.eye(size) + scale.features
        self.means: _Floats = np.linalg.solve(precisions, scale.rewards[:, :, None])[:, :, 0]
        left = scale.squares.sum() - float((self.means * scale.rewards).sum())
        n = float(scale.features[:, 0, 0].sum())
        # The prior says as much as one reward does.
        deviation = ((1 + max(left, 0.0)) / (1 + n)) ** 0.5
        lower = np.linalg.cholesky(precisions)
        eye = np.broadcast_to(np.eye(size), (arms, size, size))
        self.roots: _Floats = deviation * np.linalg.solve(lower, eye)
