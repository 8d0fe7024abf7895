"""What every question about a deployment needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlops.journal.sql import SqlJournal

#: Has every arm predict rows, see `mlops.monitoring.same_rows.Ask`.
Ask = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where answers come from.

    Attributes:
        deployment: Name of the deployment.
        journal: Only read; None where none is kept.
        key: The deployment's key, by which request ids are read and written.
        alpha: Probability of ever naming a false winner.
        baseline: Arm the others are compared with; empty for the first.
        consumers: Names of the consumers that run.
        state_file: Where the server says what it serves.
        ask: Has every arm predict rows.
        hidden: Features that are hashed or dropped, whose values in training are not shown either.
    """

    deployment: str
    journal: SqlJournal | None
    key: bytes
    alpha: float
    baseline: str
    consumers: tuple[str, ...]
    state_file: str
    ask: Ask
    hidden: frozenset[str] = frozenset()
