"""The contract of a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class State:
    """What a policy goes by from a moment on: one policy epoch of a revision.

    Attributes:
        epoch: Its number, from 0; every decision names the one that it was drawn by. Epoch 0 has
            the weights of the spec.
        probabilities: One in [0, 1] per arm; they sum to 1.
        parameters: Whatever else the policy needs to continue, as JSON data.
    """

    epoch: int
    probabilities: tuple[float, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credit:
    """What one request has earned.

    Attributes:
        arm: Position of the arm that answered.
        propensity: Probability with which it was drawn.
        reward: Higher is better.
        context: Features of the request, name to cell, for a policy that looks at them.
    """

    arm: int
    propensity: float
    reward: float
    context: Mapping[str, Any] = field(default_factory=dict)


class Policy(Protocol):
    """Decides with what probabilities arms are drawn. Pure; may be called from any thread.

    The data plane asks for the probabilities once for each state, draws by them, and writes the
    probability and the epoch into the journal with every decision. A consumer of the journal calls
    `update`, and publishes its state there. Evidence weighs each decision by what was in force, so
    that no estimate depends on which policy it was.

    Attributes:
        learns: Whether `update` ever gives another state. If not, none is looked for.
    """

    learns: bool

    def probabilities(self, context: Mapping[str, Any], state: State, /) -> Sequence[float]:
        """Return the probability of every arm, (k,); each in [0, 1], together 1.

        The same arguments give the same probabilities, in every process.

        Args:
            context: Features of the request, name to cell; empty where the policy is not
                `Contextual`, and for what it is without knowledge of the request.
            state: What is in force.
        """
        ...

    def update(self, state: State, earned: Sequence[Credit], /) -> State:
        """Return what is to be in force after these rewards; `state` itself if nothing changes.

        A changed state has the next number. All rewards at once or in parts, in the order of the
        journal, lead to the same probabilities.

        Args:
            state: What was in force.
            earned: Rewards that have come since, in the order of the journal.
        """
        ...


class Carries(Protocol):
    """What a policy may do besides: take its state over to other arms, or another policy's.

    Attributes:
        memory: What its state remembers, and how. A policy goes on from the state of another that
            has the same; else from all rewards in the journal, which takes a while where it is
            large.
    """

    @property
    def memory(self) -> str:
        """See above."""
        ...

    def carry(self, state: State, arms: Sequence[int | None], /) -> State:
        """Return the state of these arms.

        Args:
            state: Of the arms that there were.
            arms: Position of each arm that there is now among those; None for a new one.
        """
        ...


@runtime_checkable
class Contextual(Protocol):
    """What a policy is besides whose probabilities depend on the request.

    They are one of a finite number of vectors. These are written into the journal as policy epochs
    of their own, and a decision names the one that it was drawn by, so that its probabilities are
    known exactly to its readers.

    Attributes:
        features: Names of the features that it looks at.
    """

    features: tuple[str, ...]

    def vectors(self, state: State, /) -> Sequence[tuple[float, ...]]:
        """Return the vectors by which requests are drawn; none while they are not looked at."""
        ...

    def placer(self, state: State, /) -> Callable[[Mapping[str, Any]], int] | None:
        """Return what tells the position among the vectors for a request; None without vectors.

        It is called on the way of each request, and raises nothing, whatever the features hold.
        """
        ...

    def moved(self, before: State, now: State, /) -> bool:
        """Whether a state differs enough from one that is in force to be published."""
        ...


@runtime_checkable
class Paced(Protocol):
    """What a policy may do besides: say when it learns, and from what.

    Attributes:
        frozen: Whether it learns nothing now.
        reset: Only requests of revisions whose policy has this number are learnt from.
    """

    frozen: bool
    reset: int

    def waits(self, before: State, now: State, /) -> bool:
        """Whether a state has learnt too little since one that is in force to be published."""
        ...


class PolicyFactory(Protocol):
    """Makes a policy for arms with the given weights in [0, 1], which sum to 1.

    What it takes by name only are options that a user may set.
    """

    def __call__(self, weights: Sequence[float], **options: object) -> Policy:
        """Make the policy.

        Raises:
            InvalidInputError: An option will not do.
        """
        ...
