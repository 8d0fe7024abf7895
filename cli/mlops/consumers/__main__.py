"""`python -P -m mlops.consumers`: run the consumers of one deployment until the input ends.

The first line of the input is a JSON object: `deployment`, `journal_url` (or where to find it),
`key` of the request ids as the server has read it, in hexadecimal, and `consumers`, name to
options. The process ends when the other end of its input is closed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Literal

from mlops.consumers import CONSUMERS, Batch, Consumed, Consumer, Context
from mlops.consumers.runner import Runner
from mlops.errors import MlopsError
from mlops.journal.null import open_journal
from mlops.journal.outage import OutageLog
from mlops.journal.url import journal_url

_LOG = logging.getLogger(__name__)
_NICENESS = 10
_LAST_BATCH_S = 10.0


def main() -> int:
    """Run what the input says; return the exit code."""
    # Ctrl-C in the server's terminal is meant for the server, which then closes this input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    # As in the server: for consumers whose code is in the project.
    sys.path.append(str(Path.cwd()))
    asked = json.loads(sys.stdin.readline())
    name = asked["deployment"]
    journal = open_journal(journal_url(asked["journal_url"], name))
    key = bytes.fromhex(asked.get("key", ""))
    owner = f"{socket.gethostname()}:{os.getpid()}"
    outage = OutageLog()
    runners = [
        Runner(
            journal,
            consumer,
            made(consumer, Context(name, journal, options, key)),
            owner,
            outage=outage,
        )
        for consumer, options in asked["consumers"].items()
    ]
    threads = [threading.Thread(target=runner.run, daemon=True) for runner in runners]
    for thread in threads:
        thread.start()
    _wait_for_the_end()
    for runner in runners:
        runner.stop()
    for thread in threads:
        thread.join(_LAST_BATCH_S)
    return 0


class NotMade:
    """Stands for a consumer that cannot be made, so that its progress says why.

    Args:
        error: Why.
        start: As the consumer's own, for one that is new.
    """

    looks_only = True

    def __init__(self, error: Exception, start: Literal["beginning", "end"]) -> None:
        self._error, self.start = error, start

    def consume(self, batch: Batch) -> Consumed:
        """Raise the error."""
        raise self._error

    def close(self) -> None:
        """See `Consumer.close`."""


def made(name: str, context: Context) -> Consumer:
    """Return the consumer of a name, `NotMade` if that fails: the others continue."""
    start: Literal["beginning", "end"] = "beginning"
    try:
        make = CONSUMERS.load(name.partition(":")[0])
        start = getattr(make, "start", start)
        return make(context)
    except MlopsError as error:
        _LOG.error("%s: %s %s", name, error.message, error.hint or "")
        fault: Exception = error
    except Exception as error:  # noqa: BLE001 - of another package
        _LOG.exception("%s cannot be made", name)
        fault = error
    return NotMade(fault, "end" if context.options.get("start") == "now" else start)


def _wait_for_the_end() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())

    def read() -> None:
        while sys.stdin.readline():
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    while not ended.wait(1.0):
        pass


if __name__ == "__main__":
    sys.exit(main())
