"""How important each feature is, for the report page: made beside the server, at times.

    python -P -m mlops.explaining

Nothing is made unless somebody looks at the page, nor more than once in ten minutes; the page that
starts it is written without.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from mlops.serving.explaining import explainable_arms
from mlops.serving.revision import LiveRevision

_LOG = logging.getLogger(__name__)
_KEPT_S, _TIMEOUT_S = 600.0, 120.0


class LiveImportance:
    """The last that was made. Used by one thread at a time.

    Args:
        live: Gives the live revision.
        deployment: Name of the deployment.
        journal_url: Where its journal is, or where to find out.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        live: Callable[[], LiveRevision],
        deployment: str,
        journal_url: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live, self._clock = live, clock
        self._asked = {"deployment": deployment, "journal_url": journal_url}
        self._of: object = None
        self._again_at = 0.0
        self._found: list[dict[str, Any]] = []
        self._thread: threading.Thread | None = None

    def __call__(self) -> list[dict[str, Any]]:
        """Return what is known of what is live, and begin to renew it where that is old."""
        served = self._live().served
        if served is not self._of:
            self._of, self._found, self._again_at = served, [], 0.0
        known = self._found
        idle = self._thread is None or not self._thread.is_alive()
        arms = explainable_arms(served)
        if arms and idle and self._clock() >= self._again_at:
            self._again_at = self._clock() + _KEPT_S
            self._thread = threading.Thread(target=self._renew, args=(served, arms), daemon=True)
            self._thread.start()
        return known

    def _renew(self, served: object, arms: list[dict[str, str]]) -> None:
        lines = [{**self._asked, "arms": arms}, {"importance": True}]
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "mlops.explaining"],
                input="".join(f"{json.dumps(line)}\n" for line in lines),
                stdout=subprocess.PIPE,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            found = json.loads(done.stdout or "{}").get("importance", [])
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            _LOG.warning("the importance of features is not known: %s", error)
            return
        # What a journal without a request says is nothing to keep.
        if not found:
            self._again_at = min(self._again_at, self._clock() + _KEPT_S / 20)
        if served is self._of:
            self._found = found
