"""Two journals, of which one is archived."""

from __future__ import annotations

from tests.journal.archives import pair, small_steps

__all__ = ["pair", "small_steps"]
