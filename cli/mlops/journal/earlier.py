"""What an archive knows of the decisions that a batch has, or is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mlops.journal.rows import Row


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the archive knows of the decisions that a batch is about.

    Attributes:
        stage: How far archiving was when it was looked at, as `archived.read_stage`.
        decisions: Nonce to decision.
        outcomes: Nonce to its outcomes.
        named: A caller's own id to decisions that have it.
        retried: Decisions that are there already.
    """

    stage: tuple[int, int] = (0, 0)
    decisions: Mapping[bytes, Row] = field(default_factory=dict)
    outcomes: Mapping[bytes, Sequence[Row]] = field(default_factory=dict)
    named: Mapping[str | None, Sequence[Row]] = field(default_factory=dict)
    retried: Collection[bytes] = ()


#: Of a journal that has no archive.
NOTHING = Earlier()
