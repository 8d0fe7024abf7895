"""What an archive knows of the decisions that a batch has, or is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mlops.journal.rows import Row


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the archive knows of the decisions that a batch is about.

    Attributes:
        parts: How many parts there were when it was looked at.
        decisions: Nonce to decision.
        outcomes: Nonce to its outcomes.
        named: A caller's own id to decisions that have it.
        retried: Decisions that are there already.
    """

    parts: int = 0
    decisions: Mapping[bytes, Row] = field(default_factory=dict)
    outcomes: Mapping[bytes, Sequence[Row]] = field(default_factory=dict)
    named: Mapping[str | None, Sequence[Row]] = field(default_factory=dict)
    retried: Collection[bytes] = ()


#: Of a journal that has no archive.
NOTHING = Earlier()
