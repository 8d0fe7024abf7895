"""The probabilities by which arms were drawn, and which of them drew a unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.monitoring.experiment import Experiment
from mlops.monitoring.units import Units


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy epochs of an experiment with k arms, s in all, by revision and number.

    Attributes:
        epochs: Revision and number of each.
        weights: Probability of each arm, (s, k).
        groups: Of each, the first among which a request's own features choose, (s,); itself where
            they do not.
    """

    epochs: tuple[tuple[int, int], ...]
    weights: NDArray[np.float64]
    groups: NDArray[np.int64]

    @property
    def by_request(self) -> bool:
        """Whether probabilities depend on features of the request."""
        return bool((self.groups != np.arange(self.groups.size)).any())

    def rows_of(self, units: Units) -> NDArray[np.int64]:
        """Return the row by which each unit was drawn, (m,); the first for units of no revision.

        The decision names it. Where that was shed there is only its propensity, and the row of its
        revision is taken that gives its arm the nearest one.
        """
        rows = self.rows(units.revisions, units.epochs)
        lost = np.flatnonzero(units.epochs < 0)
        rows[lost] = self.rows_of_lost(
            units.revisions[lost], units.arms[lost], units.propensities[lost]
        )
        return rows

    def rows(self, revisions: NDArray[np.int64], epochs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each pair of revision and epoch, (m,); 0 where there is none."""
        known = np.array(self.epochs, dtype=np.int64).reshape(-1, 2)
        # They are sorted; a policy that learns has thousands.
        keys, wanted = known[:, 0] << 32 | known[:, 1], revisions << 32 | epochs
        at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
        return np.where(keys[at] == wanted, at, 0)

    def rows_of_lost(
        self,
        revisions: NDArray[np.int64],
        arms: NDArray[np.int64],
        propensities: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """Return the row of each request whose decision was shed, (m,)."""
        rows = np.zeros(revisions.size, dtype=np.int64)
        known = np.array(self.epochs, dtype=np.int64).reshape(-1, 2)
        for unit in range(revisions.size):
            candidates = np.flatnonzero(known[:, 0] == revisions[unit])
            if candidates.size:
                away = self.weights[candidates, arms[unit]] - propensities[unit]
                rows[unit] = candidates[np.argmin(np.abs(away))]
        return rows


def in_force(journal: Journal, experiment: Experiment) -> InForce:
    """Read the policy epochs of an experiment; epoch 0 of each revision has its spec's weights."""
    found = {
        (number, 0): tuple(arm.weight for arm in experiment.specs[number].arms)
        for number in experiment.revisions
    }
    first: dict[tuple[int, int], tuple[int, int]] = {}
    for each in journal.epochs(experiment.revisions):
        found[each.revision, each.epoch] = each.probabilities
        if each.of_vectors is not None:
            first[each.revision, each.epoch] = each.revision, each.of_vectors
    epochs = tuple(sorted(found))
    places = {key: place for place, key in enumerate(epochs)}
    groups = [places.get(first.get(key, key), place) for key, place in places.items()]
    weights = np.array([found[key] for key in epochs], dtype=np.float64)
    return InForce(epochs, weights, np.array(groups, dtype=np.int64))
