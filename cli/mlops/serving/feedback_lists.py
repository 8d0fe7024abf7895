"""What a truth or a list in feedback should have been, for its sender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops.journal.records import StoredOutcome
from mlops.rewards.choosing import kind_of_answer
from mlops.rewards.kinds import is_single, outputs_in

_NAMED = 20


def expected(stored: StoredOutcome, names: Sequence[str]) -> str:
    """Say what a truth or a list that did not fit should have been.

    Args:
        stored: What did not fit.
        names: Names of the outputs of the arm that answered, in order; empty if it has none.
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
