"""The process beside the server that reads the journal for the live page.

    python -P -m mlops.live_page

It starts with the first question and ends when it was not asked for a while, with the memory that
reading took. Several questions may be under way: a search for a request does not wait until
the evidence is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mlops.errors import PUBLIC, MlopsError, RemoteError, kind_of
from mlops.serving.child import Child, say

_LOG = logging.getLogger(__name__)
_IDLE_S = 60.0
_TIMEOUT_S = 600.0
_MOST = 8
# It starts with 200 MB of libraries.
_LARGE_BYTES = 600 * 1024 * 1024
_NOT_ASKED = "The arms could not be asked about labelled rows; the server's log says why."
_ENOUGH = "Enough is being read for this page already; try again shortly."
_TOO_LONG = "Reading the journal for this page takes too long."
_ENDED = "The process that reads the journal for this page has ended."

#: Asks every arm of the experiment of this identity about rows, see `mlops.serving.report`.
Ask: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]


class Reader:
    """Asks the process. Lives on one event loop.

    Args:
        about: What the process is told first: which journal, and how to read it.
        ask: Asks every arm about rows; called in a thread.
    """

    def __init__(self, about: Mapping[str, Any], ask: Ask | None = None) -> None:
        self._about = dict(about)
        self._ask = ask
        self._child = Child("mlops.live_page", _IDLE_S)
        self._heard: Process | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[Any, asyncio.Future[dict[str, Any]]]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def ask(self, what: str, **terms: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON data
        """Ask a question.

        Args:
            what: A name of `mlops.live_page.QUESTIONS`.
            terms: Its arguments, JSON data.

        Raises:
            MlopsError: What the process raised.
            RemoteError: It ended, does not answer in time, or has enough questions.
        """
        if len(self._asked) >= _MOST:
            raise RemoteError(_ENOUGH, reason=PUBLIC)
        child = await self._running()
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._asked[number] = child, future
        try:
            say(child, {"number": number, "what": what, "terms": terms})
            async with asyncio.timeout(_TIMEOUT_S):
                answer: dict[str, Any] = await future
                return answer
        except TimeoutError as error:
            self.close()
            raise RemoteError(_TOO_LONG, reason=PUBLIC) from error
        finally:
            del self._asked[number]
            if not self._asked:
                self._child.rest()

    def release_memory(self) -> None:
        """End the process if it has grown large and nobody waits; the next question starts another.

        What reading millions of outcomes took is given back between two looks.
        """
        pid = self._child.pid
        if pid is not None and not self._asked and _size(pid) > _LARGE_BYTES:
            self.close()

    def close(self) -> None:
        """End the process; open questions fail."""
        self._child.close()

    async def _running(self) -> Process:
        child = await self._child.running(self._about)
        if child is not self._heard:
            self._heard = child
            self._listening = asyncio.create_task(self._listen(child))
        return child

    async def _listen(self, child: Process) -> None:
        assert child.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            while line := await child.stdout.readline():
                self._take(child, json.loads(line))
        # After a line that is too long it still runs, and waits for somebody to read on.
        self._child.end(child)
        # A process that was started since has questions of its own.
        for asked, future in self._asked.values():
            if asked is child and not future.done():
                future.set_exception(RemoteError(_ENDED, reason=PUBLIC))
        # Its end is not noticed before the end of its pipe.
        await child.stdout.read()
        await child.wait()

    def _take(self, child: Process, said: dict[str, Any]) -> None:
        if "rows" in said:
            task = asyncio.create_task(self._predict(child, said))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        asked, future = self._asked.get(said["number"], (None, None))
        if asked is not child or future is None or future.done():
            return
        if "error" in said:
            error = said["error"]
            future.set_exception(kind_of(code=error["code"])(error["message"], hint=error["hint"]))
        else:
            future.set_result(said["answer"])

    async def _predict(self, child: Process, said: dict[str, Any]) -> None:
        """Have the arms predict the rows that a report asks about."""
        answer: dict[str, Any] = {"number": said["number"]}
        try:
            asked = self._ask
            arms = await asyncio.to_thread(asked, said["experiment"], said["rows"]) if asked else []
            say(child, {**answer, "arms": arms})
        except MlopsError as error:
            document = {"code": error.code, "message": error.message, "hint": error.hint}
            say(child, {**answer, "error": document})
        except Exception:  # noqa: BLE001 - whatever it is, the process waits for an answer
            _LOG.exception("the live page: arms could not be asked about rows")
            document = {"code": "", "message": _NOT_ASKED, "hint": None}
            say(child, {**answer, "error": document})


def _size(pid: int) -> int:
    """Return the resident bytes of a process; 0 where that is not known."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
