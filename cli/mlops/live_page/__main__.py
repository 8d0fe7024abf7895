"""`python -P -m mlops.live_page`: answer questions that come as JSON lines, each with a number.

The first line says which deployment. Questions are answered as they are done, several at a time.
An answer is `{number, answer}` or `{number, error}`; in between a report may ask to have rows
predicted, `{number, experiment, rows}`, and gets `{number, arms}` or `{number, error}`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from mlops.errors import MlopsError, RemoteError, kind_of
from mlops.journal.null import URL as NO_JOURNAL
from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from mlops.live_page import QUESTIONS
from mlops.live_page.source import Source

_LOG = logging.getLogger(__name__)
_NICENESS = 10
# Of a processor, at the priority of the server: long enough to import the statistics and to show a
# journal of usual size. With less from the start, a busy machine shows nothing for minutes.
_HURRY_S, _LOOK_AGAIN_S = 5.0, 0.5
# The first that the kernel ends when memory is short: Linux, Documentation/filesystems/proc.rst.
_OOM_SCORE = "1000"
_THREADS = 4
# Less than the server waits for the part that asks.
_TIMEOUT_S = 300.0


class _Line:
    """The two ends of the pipe, used by several threads."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._lock = threading.Lock()
        # Negative, as the server's own are positive.
        self._numbers = itertools.count(-1, -1)
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}

    def say(self, document: dict[str, Any]) -> None:
        text = json.dumps(document, allow_nan=False)
        with self._lock:
            self._out.write(text + "\n")
            self._out.flush()

    def ask(self, experiment: str, rows: Sequence[Any]) -> Sequence[Sequence[Any]]:
        number = next(self._numbers)
        mine = self._answers[number] = queue.Queue(1)
        self.say({"number": number, "experiment": experiment, "rows": list(rows)})
        try:
            answer = mine.get(timeout=_TIMEOUT_S)
        except queue.Empty:
            self._answers.pop(number, None)
            raise RemoteError("The server does not say what the arms predict.") from None
        if "error" in answer:
            error = answer["error"]
            raise kind_of(code=error["code"])(error["message"], hint=error["hint"])
        arms: list[list[Any]] = answer["arms"]
        return arms

    def took(self, said: dict[str, Any]) -> bool:
        """Pass on an answer; return whether it was one."""
        waiting = self._answers.pop(said["number"], None)
        if waiting is not None:
            waiting.put(said)
        # One that comes too late is no question.
        is_answer: bool = said["number"] < 0
        return is_answer


def main() -> int:
    """Answer until the input ends; return the exit code."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    threading.Thread(target=_step_back, daemon=True).start()
    # Whatever a library prints must not get between the lines.
    line = _Line(os.fdopen(os.dup(sys.stdout.fileno()), "w"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    source = _source(json.loads(sys.stdin.readline()), line)
    with ThreadPoolExecutor(_THREADS) as pool:
        for text in sys.stdin:
            said = json.loads(text)
            if not line.took(said):
                pool.submit(_answer, source, line, said)
        # What is still being read has no reader left.
        os._exit(0)


def _step_back() -> None:
    """Let the server go first, once this process has had what a first look takes."""
    while time.process_time() < _HURRY_S:
        time.sleep(_LOOK_AGAIN_S)
    # Each thread has a priority of its own; one that is started later has that of its starter.
    for _ in range(2):
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICENESS)


def _source(about: dict[str, Any], line: _Line) -> Source:
    url = journal_url(about["journal_url"], about["deployment"])
    journal = None if url == NO_JOURNAL else SqlJournal(url, patient=True)
    return Source(
        deployment=about["deployment"],
        journal=journal,
        key=bytes.fromhex(about["key"]),
        alpha=about["alpha"],
        baseline=about["baseline"],
        consumers=tuple(about["consumers"]),
        state_file=about["state_file"],
        ask=line.ask,
        hidden=frozenset(about["hidden"]),
    )


def _answer(source: Source, line: _Line, said: dict[str, Any]) -> None:
    number = said["number"]
    try:
        answer = QUESTIONS.load(said["what"])(source, **said["terms"])
        line.say({"number": number, "answer": answer})
    except MlopsError as error:
        document = {"code": error.code, "message": error.message, "hint": error.hint}
        line.say({"number": number, "error": document})
    except Exception:  # noqa: BLE001 - the other questions are answered
        _LOG.exception("the live page: `%s` failed", said["what"])
        text = "This part of the page could not be made; the server's log says why."
        line.say({"number": number, "error": {"code": "", "message": text, "hint": None}})


if __name__ == "__main__":
    sys.exit(main())
