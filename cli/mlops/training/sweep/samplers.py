"""The choice of points: the contract, and the grid, which needs no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Protocol

from mlops.plugins import Plugins
from mlops.training.search_space import combinations
from mlops.training.sweep.records import SweepSpec, TrialRecord

#: Metric by step, as a script logs it.
Steps = Sequence[tuple[int, float]]


class Sampler(Protocol):
    """Chooses points and learns from their results; for one thread.

    Trials are known by number. Each is started once, and reported once.

    Attributes:
        learns: Whether the point of a trial depends on what came of those before it.
    """

    learns: bool

    def begin(self, number: int, point: Mapping[str, str] | None) -> Mapping[str, str]:
        """Return the point of a trial that begins now.

        Args:
            number: The trial's number, from 1.
            point: The point it must have, for one that runs again; None to choose.
        """

    def hopeless(self, number: int, steps: Steps) -> bool:
        """Whether a running trial should be stopped, given its metric so far."""

    def tell(self, trial: TrialRecord, steps: Steps) -> None:
        """Learn the result of a trial: one started here, or one of an earlier process."""


class Grid:
    """Every combination, in order; learns nothing."""

    learns = False

    def __init__(self, spec: SweepSpec) -> None:
        self._points = combinations(list(spec.axes.values()))

    def begin(self, number: int, point: Mapping[str, str] | None) -> Mapping[str, str]:
        """Return the combination of that number."""
        return point or self._points[number - 1]

    def hopeless(self, number: int, steps: Steps) -> bool:
        """Return False: without a study there is nothing to compare with."""
        return False

    def tell(self, trial: TrialRecord, steps: Steps) -> None:
        """Ignore it."""


_STUDY = "mlops.training.sweep.study:Study [sweep]"

#: Choosers by the name of the sampler; `pruned-grid` is a grid that may stop trials.
CHOOSERS: Plugins[type[Sampler]] = Plugins(
    "sampler",
    {
        "grid": "mlops.training.sweep.samplers:Grid",
        "random": _STUDY,
        "tpe": _STUDY,
        "pruned-grid": _STUDY,
    },
)


def check_chooser(spec: SweepSpec) -> None:
    """Report at once if a library is missing, without importing it, which must follow the fork.

    Raises:
        InvalidInputError: It is not installed.
    """
    if find_spec("optuna") is None:
        chooser_of(spec)


def chooser_of(spec: SweepSpec) -> Sampler:
    """Return the chooser of a sweep.

    Raises:
        InvalidInputError: It needs a library that is not installed.
    """
    name = "pruned-grid" if spec.sampler == "grid" and spec.prune else spec.sampler
    chooser: type[Grid] = CHOOSERS.load(name)  # type: ignore[assignment] # all take a spec
    return chooser(spec)
