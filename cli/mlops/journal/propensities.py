"""Which probabilities were in force when a decision was made."""

from __future__ import annotations

from collections.abc import Iterable

from mlops.journal.records import PolicyEpoch


class Propensities:
    """The policy epochs of a journal, looked up by a decision's revision and epoch.

    Args:
        epochs: As `History.epochs` returns them.

    >>> known = Propensities([
    ...     PolicyEpoch(1, 0, 100, (0.5, 0.5)), PolicyEpoch(1, 1, 200, (0.9, 0.1)),
    ... ])
    >>> known.of(1, 1), known.at(1, 150), known.newest(1).epoch
    ((0.9, 0.1), (0.5, 0.5), 1)
    """

    def __init__(self, epochs: Iterable[PolicyEpoch]) -> None:
        self._of: dict[int, list[PolicyEpoch]] = {}
        for each in sorted(epochs, key=lambda epoch: (epoch.revision, epoch.epoch)):
            self._of.setdefault(each.revision, []).append(each)

    def of(self, revision: int, epoch: int) -> tuple[float, ...]:
        """Return the probabilities of an epoch, one per arm.

        Raises:
            KeyError: It is not in the journal.
        """
        for each in self._of[revision]:
            if each.epoch == epoch:
                return each.probabilities
        raise KeyError((revision, epoch))

    def at(self, revision: int, time_ms: int) -> tuple[float, ...]:
        """Return the probabilities of a revision at a time; before its first epoch, of that.

        Args:
            revision: Its number.
            time_ms: Milliseconds since 1970 in UTC.

        Raises:
            KeyError: The revision is not in the journal.
        """
        begun = [each for each in self._of[revision] if each.time_ms <= time_ms]
        return (begun or self._of[revision][:1])[-1].probabilities

    def newest(self, revision: int) -> PolicyEpoch:
        """Return the newest epoch of a revision.

        Raises:
            KeyError: The revision is not in the journal.
        """
        return self._of[revision][-1]
