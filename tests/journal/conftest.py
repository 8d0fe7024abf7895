"""A writer, and two journals of which one is archived."""

from __future__ import annotations

from tests.journal.archives import pair, small_steps
from tests.journal.writers import house

__all__ = ["house", "pair", "small_steps"]
