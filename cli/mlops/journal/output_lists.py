"""Lists in feedback: one value per row of a request, or one per output of the model.

`"truth": [31.2, 7.0]` is the truth of two rows, or of one row of a model with two outputs. Which of
them only the request shows, so that a list is read as rows first, and where its decision says that
these do not fit, as outputs. That happens where the decision is at hand, in the transaction that
stores the list: what is stored of a request is stored at once or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from mlops.journal.records import Fate, NewOutcome, StoredOutcome
from mlops.rewards.kinds import pairs_of
from mlops.rewards.probabilities import are_probabilities


def as_outputs(joined: Sequence[StoredOutcome]) -> Iterator[StoredOutcome]:
    """Read lists and objects that do not fit as truths by output; refuse a list as a whole.

    Args:
        joined: Outcomes with their decisions; those of one list follow each other.

    Yields:
        As many, in order. Of a list that is one truth, or is refused, the first has the status, and
        the others are a `PART` of it.
    """
    for _, items in groupby(enumerate(joined), _list_of):
        group = [item for _, item in items]
        if all(item.fate is not Fate.MISFIT for item in group):
            yield from group
        else:
            refused = next(item for item in group if item.fate is Fate.MISFIT)
            yield from _by_name(group) or _of_one_row(group) or _parts(group, refused)


def _list_of(at: tuple[int, StoredOutcome]) -> int:
    """Identify the list of an outcome; one that came in none is alone."""
    index, item = at
    return -1 - index if item.outcome.of_list is None else id(item.outcome.of_list)


def _by_name(group: Sequence[StoredOutcome]) -> list[StoredOutcome]:
    """Put truths by name in the order of the outputs; empty if a truth is none."""
    found = []
    for item in group:
        if item.fate is not Fate.MISFIT:
            found.append(item)
            continue
        outcome, truth = item.outcome, item.outcome.truth
        names = outcome.outputs_of(outcome) if outcome.outputs_of else ()
        if not isinstance(truth, Mapping) or truth.keys() != set(names):
            return []
        ordered: Any = [truth[name] for name in names]
        if outcome.of_rows not in (0, item.n_rows) or not pairs_of(item.prediction, ordered):
            return []
        found.append(_accepted(item, replace(outcome, truth=ordered)))
    return found


def _of_one_row(group: Sequence[StoredOutcome]) -> list[StoredOutcome]:
    """Take a list of single values for the outputs of the only row; empty if it is not that."""
    first = group[0]
    truths: Any = [item.outcome.truth for item in group]
    whole = len(group) == first.outcome.of_rows and first.n_rows == 1 and None not in truths
    # Of probabilities a row has one class as its truth, so several are those of several rows.
    if not whole or are_probabilities(first.prediction) or not pairs_of(first.prediction, truths):
        return []
    if len({item.outcome.reward for item in group}) > 1:
        return []
    outcome = replace(first.outcome, row=0, truth=truths, of_rows=1)
    return _parts(group, _accepted(first, outcome))


def _accepted(item: StoredOutcome, outcome: NewOutcome) -> StoredOutcome:
    return replace(item, fate=Fate.ACCEPTED, outcome=outcome)


def _parts(group: Sequence[StoredOutcome], first: StoredOutcome) -> list[StoredOutcome]:
    """Count a list as one outcome, its first."""
    return [first, *(replace(item, fate=Fate.PART) for item in group[1:])]
