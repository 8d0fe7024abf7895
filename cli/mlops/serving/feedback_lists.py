"""Lists in feedback: one value per row of a request, or one per output of the model.

`"truth": [31.2, 7.0]` is the truth of two rows, or of one row of a model with two outputs. Which of
them only the request shows, so that a list is read as rows first, and where the journal says that
these do not fit, as outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlops.journal.records import Fate, NewOutcome, StoredOutcome
from mlops.rewards.choosing import kind_of_answer
from mlops.rewards.kinds import is_single, outputs_in, pairs_of

_NAMED = 20


def misfits(results: Sequence[object]) -> Iterator[list[int]]:
    """Yield positions of outcomes that do not fit their request, those of one list together.

    Args:
        results: What came of each outcome, in the order of their sender; others than a
            `StoredOutcome` are passed over.
    """
    group: list[int] = []
    last: NewOutcome | None = None
    for at, each in enumerate(results):
        if not isinstance(each, StoredOutcome) or each.fate is not Fate.MISFIT:
            last = None
            continue
        if group and not (last and _follows(each.outcome, last)):
            yield group
            group = []
        group.append(at)
        last = each.outcome
    if group:
        yield group


def _follows(outcome: NewOutcome, last: NewOutcome) -> bool:
    """Whether two outcomes may be of one list."""
    same = (outcome.nonce, outcome.of_rows) == (last.nonce, last.of_rows)
    return same and outcome.of_rows > 0 and 0 <= last.row < outcome.row


def as_outputs(stored: Sequence[StoredOutcome], names: Sequence[str]) -> list[NewOutcome]:
    """Read outcomes that did not fit as truths by output; empty if that does not fit either.

    Args:
        stored: Outcomes of one list, or one outcome.
        names: Names of the outputs of the arm that answered, in order; empty if it has none.
    """
    first = stored[0]
    outcomes = [each.outcome for each in stored]
    truths: Any = [each.truth for each in outcomes]
    if all(isinstance(each, Mapping) and each.keys() == set(names) for each in truths):
        ordered: Any = [[each[name] for name in names] for each in truths]
        pairs = zip(stored, ordered, strict=True)
        if all(each.prediction is not None and pairs_of(each.prediction, t) for each, t in pairs):
            return [replace(o, truth=t) for o, t in zip(outcomes, ordered, strict=True)]
    whole = len(outcomes) == first.outcome.of_rows and len({o.reward for o in outcomes}) == 1
    if whole and first.n_rows == 1 and pairs_of(first.prediction, truths):
        return [replace(first.outcome, row=0, truth=truths, of_rows=1)]
    return []


def expected(stored: StoredOutcome, names: Sequence[str]) -> str:
    """Say what a truth or a list that did not fit should have been.

    Args:
        stored: What did not fit.
        names: As in `as_outputs`.
    """
    n_rows, prediction = stored.n_rows, stored.prediction
    rows = "1 row" if n_rows == 1 else f"{n_rows:,} rows"
    if kind_of_answer(prediction) != "several" or is_single(prediction):
        return f"the request has {rows}, and a list holds one value for each"
    outputs = len(outputs_in(prediction))
    known = names or (tuple(prediction) if isinstance(prediction, Mapping) else ())
    named = ", ".join(f"`{name}`" for name in known[:_NAMED]) + ", …" * (len(known) > _NAMED)
    one = f"a list of {outputs}" + (f" or an object with {named}" if known else "")
    many = "" if n_rows == 1 else f", of all rows a list of {n_rows:,} such"
    has = f"the request has {rows}, and its model {outputs} outputs"
    return f"{has}: the truth of a row is {one}{many}"
