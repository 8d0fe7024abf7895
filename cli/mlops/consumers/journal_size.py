"""Warn the operator of a deployment that its journal has grown too large."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ClassVar, Literal

from mlops.consumers.base import Batch, Consumed, Context
from mlops.journal.size_limit import too_large

_LOG = logging.getLogger(__name__)
_EVERY_S = 60.0


class JournalSize:
    """Looks at the journal's size at intervals; says it once each time it becomes too large.

    Args:
        context: Its option `max_mb` is how many megabytes the journal may take.
        clock: Seconds that only grow.
    """

    start: ClassVar[Literal["beginning", "end"]] = "end"
    looks_only: ClassVar[bool] = True

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._max_mb = int(context.options.get("max_mb", 0))
        self._clock = clock
        self._look_at = -1.0
        self._warning = ""

    def consume(self, batch: Batch) -> Consumed:
        """See `Consumer.consume`."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _EVERY_S
            size = self._context.journal.size_bytes()
            said, self._warning = (
                self._warning, too_large(size, self._max_mb, self._context.deployment),
            )  # fmt: skip
            if self._warning and not said:
                _LOG.warning("%s", self._warning)
        return Consumed(warning=self._warning)

    def close(self) -> None:
        """See `Consumer.close`."""
