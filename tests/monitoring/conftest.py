"""A journal of requests for tests of drift."""

from __future__ import annotations

from tests.monitoring.drift_journal import journal

__all__ = ["journal"]
