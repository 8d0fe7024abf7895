"""How important each feature is, for the report page: made beside the server, at times.

    python -P -m mlops.explaining

Nothing is made unless somebody looks at the page, nor more than once in ten minutes; the page that
starts it is written without. Where it cannot be made, as before enough requests came, the page says
why, and it is tried again after half a minute, then twice as long each time, up to ten minutes.
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
_KEPT_S, _RETRY_S, _TIMEOUT_S = 600.0, 30.0, 120.0
_UNKNOWN = "It could not be made: the server's log says why."


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
        self._again_at, self._retry_s = 0.0, _RETRY_S
        self._found: dict[str, Any] = {}
        self._thread: threading.Thread | None = None

    def __call__(self) -> dict[str, Any]:
        """Return what is known of what is live, and begin to renew it where that is old.

        Returns:
            For the page: `importance` of each arm, or `no_importance`, which says why there is
            none; empty before either.
        """
        served = self._live().served
        if served is not self._of:
            self._of, self._found = served, {}
            self._again_at, self._retry_s = 0.0, _RETRY_S
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
            said = json.loads(done.stdout or "{}")
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            _LOG.warning("the importance of features is not known: %s", error)
            said = {}
        if served is not self._of:
            return
        if said.get("importance"):
            self._found = {"importance": said["importance"]}
        else:
            self._found = {"no_importance": said.get("refused") or said.get("failed") or _UNKNOWN}
            self._again_at = min(self._again_at, self._clock() + self._retry_s)
            self._retry_s *= 2
