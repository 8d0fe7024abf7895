"""An empty journal of each implementation."""

from __future__ import annotations

from tests.conformance.journals import journal, url

__all__ = ["journal", "url"]
