"""Requests that arrive together are answered in lockstep: a step of each, then the next of each.

One request alone passes through so much code (JSON, the draw, the id, NumPy, the journal) that
little of it is left in the processor's caches when the next one comes. Where several arrive in one
turn of the event loop, taking them through the same step one after the other costs a third less
processor time than taking each to its end; answers of one turn are sent together in any case.

If more arrive than can be answered in time, some are refused instead; see `admission`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Generator, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from mlops.serving.admission import ALWAYS, Admission

_T = TypeVar("_T")
_Request = TypeVar("_Request")
_Result = TypeVar("_Result")
_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Result_contra = TypeVar("_Result_contra", contravariant=True)

#: Work on one request, which pauses after each step.
Steps: TypeAlias = Generator[None, None, _T]

_LOG = logging.getLogger(__name__)
# More would not be faster, and the first would wait for the last.
_TOGETHER = 32


class Caller(Protocol[_Request_contra, _Result_contra]):
    """Waits for the answer to a request."""

    def respond(self, request: _Request_contra, result: _Result_contra | None, /) -> None:
        """Take the answer; None if there is none, because of an internal error."""
        ...


class Lockstep(Generic[_Request, _Result]):
    """Answers what arrives in one turn of the event loop together. Lives on one event loop.

    Args:
        answer: Begins to answer a request with this body.
        refuse: Says that there are too many requests to answer this one.
    """

    def __init__(
        self,
        answer: Callable[[_Request, bytes], Steps[_Result]],
        refuse: Callable[[_Request], _Result],
    ) -> None:
        self._answer = answer
        self._refuse = refuse
        self._admission = Admission()
        self._waiting: list[tuple[Caller[_Request, _Result], _Request, bytes]] = []

    def add(self, caller: Caller[_Request, _Result], request: _Request, body: bytes) -> None:
        """Answer a request after this turn of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.run)
        self._waiting.append((caller, request, body))

    def run(self) -> None:
        """Answer what waits now."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if len(waiting) > ALWAYS:
            # Some may be refused, here or by a full arm: not those of the same callers every time.
            first = secrets.randbelow(len(waiting))
            waiting = waiting[first:] + waiting[:first]
        admitted = self._admission.begin(len(waiting))
        # At once: what is refused has waited for the turn before, and need not wait for this one.
        self._turn_away(waiting[admitted:])
        together = self._admission.together(_TOGETHER)
        done = 0
        while done < admitted and not self._admission.is_over(done):
            following = min(done + together, admitted)
            self._run([
                (self._answer(request, body), caller, request)
                for caller, request, body in waiting[done:following]
            ])  # fmt: skip
            done = following
        self._turn_away(waiting[done:admitted])
        self._admission.end(done, len(waiting) - done)

    def _turn_away(
        self, refused: Sequence[tuple[Caller[_Request, _Result], _Request, bytes]]
    ) -> None:
        for caller, request, _ in refused:
            result = None
            try:
                result = self._refuse(request)
            except Exception:  # noqa: BLE001 - its neighbours have nothing to do with it
                _LOG.exception("A request could not be refused")
            _respond(caller, request, result)

    @staticmethod
    def _run(
        requests: list[tuple[Steps[_Result], Caller[_Request, _Result], _Request]],
    ) -> None:
        while requests:
            unfinished = []
            for each in requests:
                steps, caller, request = each
                try:
                    next(steps)
                    unfinished.append(each)
                    continue
                except StopIteration as end:
                    result = end.value
                except Exception:  # noqa: BLE001 - its neighbours have nothing to do with it
                    _LOG.exception("A request could not be answered")
                    result = None
                _respond(caller, request, result)
            requests = unfinished


def _respond(caller: Caller[_Request, _Result], request: _Request, result: _Result | None) -> None:
    try:
        caller.respond(request, result)
    except Exception:  # noqa: BLE001 - its neighbours have nothing to do with this either
        _LOG.exception("An answer could not be sent")


def at_once(steps: Steps[_T]) -> _T:
    """Take one request through all its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
