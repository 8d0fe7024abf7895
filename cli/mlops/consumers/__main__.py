"""`python -P -m mlops.consumers`: run the consumers of one deployment until the input ends.

The first line of the input is a JSON object: `deployment`, `journal_url` (or where to find it) and
`consumers`, name to options. The process ends when the other end of its input is closed.
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

from mlops.consumers import CONSUMERS, Consumer, Context
from mlops.consumers.runner import Runner
from mlops.errors import MlopsError
from mlops.journal.null import open_journal
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
    sys.path.append(os.getcwd())  # noqa: PTH109 - sys.path holds text
    asked = json.loads(sys.stdin.readline())
    name = asked["deployment"]
    journal = open_journal(journal_url(asked["journal_url"], name))
    key = Path(asked["key_file"]).read_bytes() if asked.get("key_file") else b""
    owner = f"{socket.gethostname()}:{os.getpid()}"
    runners = []
    for consumer, options in asked["consumers"].items():
        try:
            make = CONSUMERS.load(consumer.partition(":")[0])
            made: Consumer = make(Context(name, journal, options, key))
        except MlopsError as error:
            _LOG.error("%s: %s %s", consumer, error.message, error.hint or "")
            continue
        except Exception:  # noqa: BLE001 - of another package; the others continue
            _LOG.exception("%s cannot be made", consumer)
            continue
        runners.append(Runner(journal, consumer, made, owner))
    threads = [threading.Thread(target=runner.run, daemon=True) for runner in runners]
    for thread in threads:
        thread.start()
    _wait_for_the_end()
    for runner in runners:
        runner.stop()
    for thread in threads:
        thread.join(_LAST_BATCH_S)
    return 0


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
