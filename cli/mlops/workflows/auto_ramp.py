"""Moving a ramp beside the server: what `mlops deploy --auto` asks for.

Looking is cheap and needs the journal alone; so it is done here, in the process of the consumers.
What moves a ramp needs the registry, the ledger and the server, may take a minute, and is the same
as for any other user: the command `mlops ramp`, which looks for itself.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from mlops.consumers.base import Batch, Consumed, Context
from mlops.journal.terms import live_event

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_S = 2.0
# A large journal takes long to read: the pause is this many times as long.
_PAUSE = 10.0
_COMMAND_S = 900.0
_MAX_SAID = 500

#: Runs `mlops` with these arguments, and returns its exit code, output and errors.
Run = Callable[[Sequence[str]], tuple[int, str, str]]


def run_mlops(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run this program in the folder of the project, where the server was started.

    Nothing of that folder is imported: it may have a `json.py`.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mlops", *arguments],
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


class AutoRamp:
    """Looks at the live ramp every few seconds, if it is to move automatically.

    Args:
        context: Its journal is read.
        run: Runs `mlops ramp`.
        clock: Seconds that only grow.
    """

    start: ClassVar[Literal["beginning", "end"]] = "end"
    looks_only: ClassVar[bool] = True

    def __init__(
        self, context: Context, run: Run = run_mlops, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._run = run
        self._clock = clock
        self._look_at = -1.0
        self._warning = ""
        self._known = -1
        self._moves = False

    def consume(self, batch: Batch) -> Consumed:
        """See `Consumer.consume`."""
        if self._clock() >= self._look_at:
            began = self._clock()
            self._warning = self._look() if self._is_moving() else ""
            now = self._clock()
            self._look_at = now + max(_LOOK_EVERY_S, _PAUSE * (now - began))
        return Consumed(warning=self._warning)

    def _is_moving(self) -> bool:
        """Whether what is live has a ramp that moves automatically."""
        events = self._context.journal.revision_events()
        if len(events) != self._known:
            live = live_event(events)
            ramp = (live.spec or {}).get("ramp") if live else None
            self._known, self._moves = len(events), bool(ramp and ramp.get("auto"))
        return self._moves

    def _look(self) -> str:
        """Look, and move the ramp if due; return a warning."""
        # SciPy is imported only if there is a ramp.
        from mlops.monitoring.ramp import look_at_ramp

        look = look_at_ramp(self._context.journal)
        if look.decision == "withhold":
            return f"The ramp of `{look.name}` is withheld: {look.reason}"
        if look.decision in ("wait", "done"):
            return ""
        _LOG.info("ramp of `%s`: %s. %s", look.name, look.decision, look.reason)
        code, out, errors = self._run(["ramp", self._context.deployment, "--exit-zero", "--json"])
        if code:
            said = error_told(out, errors)
            return f"`mlops ramp {look.name}` failed, and is tried again: {said}"
        return ""

    def close(self) -> None:
        """See `Consumer.close`."""


def error_told(out: str, errors: str) -> str:
    """Return what a command that failed says with `--json`, or else the end of its errors."""
    try:
        document: dict[str, Any] = json.loads(out)
        return str(document["error"]["message"])
    except (KeyError, TypeError, ValueError):
        return errors.strip()[-_MAX_SAID:]
