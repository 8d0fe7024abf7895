"""The data plane: everything that holds for a request over any transport.

It checks, assigns an arm, has the arm's runner predict, and leaves a decision in the journal for
every arm it assigns, also where the model then fails. It knows no HTTP and no gRPC: a transport
turns its bytes into an `InferenceRequest` and a `RequestContext`, and an answer or the kind of an
error into bytes and a code.

A quick model answers without leaving the event loop, and then nothing here is a coroutine: `infer`
and `serve` come to their result, or to a coroutine of it where something has to be waited for. They
pause after each step, so that requests which arrive together can be taken through it together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Generic, TypeAlias, TypeVar

from mlops.protocols.base import (
    MAX_CLIENT_ID,
    InferenceRequest,
    InferenceResponse,
    Kind,
    Payload,
    Prediction,
    ProtocolError,
    Records,
    Rows,
    is_client_id,
)
from mlops.protocols.http_status import http_status
from mlops.protocols.predictions import rows_of
from mlops.serving.assignment import Assignment, assign
from mlops.serving.lockstep import Steps, at_once
from mlops.serving.recording import Kept, Recorder
from mlops.serving.refusals import RefusalLog
from mlops.serving.request_bodies import SMALL_BODY
from mlops.serving.request_context import RequestContext
from mlops.serving.revision import LiveArm, LiveRevision
from mlops.serving.runners.base import DEADLINE_S, FEW_ROWS
from mlops.spec.request_id import mint
from mlops.tables.signature import Signature

_T = TypeVar("_T")
Later: TypeAlias = Coroutine[Any, Any, _T]
_Result: TypeAlias = "Prediction | ProtocolError"


@dataclass(slots=True)
class Answer:
    """The result of one request.

    Attributes:
        result: The answer, or why there is none.
        request_id: Id of the decision.
        arm: Name of the arm that was drawn.
        revision: Number of the revision that answered.
    """

    result: InferenceResponse | ProtocolError
    request_id: str
    arm: str
    revision: int


@dataclass(slots=True)
class Exchange(Generic[_T]):
    """A transport's side of one request; what takes long is called in a thread.

    Attributes:
        read: Reads the request, given what the live models take. Raises `ProtocolError`.
        write: Writes an answer. Raises `ProtocolError` if it has no form in this protocol.
        write_error: Writes a failure.
    """

    read: Callable[[Signature], InferenceRequest]
    write: Callable[[InferenceResponse, InferenceRequest], _T]
    write_error: Callable[[ProtocolError], _T]


class DataPlane:
    """Answers requests with the live revision. Lives on one event loop.

    Args:
        live: The revision to start with.
        key: The deployment's key.
        recorder: Gets every answered request.
    """

    def __init__(self, live: LiveRevision, key: bytes, recorder: Recorder) -> None:
        self.live = live
        self.key = key
        self._recorder = recorder
        self._refusals = RefusalLog()
        self._held: asyncio.Event | None = None

    def hold(self) -> None:
        """Assign no arm until `release`; requests that have one continue."""
        self._held = asyncio.Event()

    def release(self) -> None:
        """Let requests have arms again, of what is live now."""
        if self._held is not None:
            self._held.set()
        self._held = None

    def serve(
        self, exchange: Exchange[_T], context: RequestContext
    ) -> Steps[tuple[_T, Answer] | Later[tuple[_T, Answer]]]:
        """Read, answer and write one request, step by step.

        Returns:
            What was written, and what it says; or a coroutine of that.

        Raises:
            ProtocolError: No arm was assigned, and nothing was recorded. Of the coroutine too.
        """
        live = self.live
        name = live.served.revision.spec.name
        if context.model and context.model != name:
            raise ProtocolError(
                Kind.UNKNOWN_MODEL, f"Model {context.model} not found; this is {name}."
            )
        if context.size > SMALL_BODY:
            return self._serve_large(exchange, context)
        request = exchange.read(live.signature)
        yield
        answer = yield from self.infer(request, context)
        yield
        if isinstance(answer, Answer):
            return _write(exchange, answer, request), answer
        return self._serve_later(exchange, request, answer)

    async def _serve_large(
        self, exchange: Exchange[_T], context: RequestContext
    ) -> tuple[_T, Answer]:
        request = await asyncio.to_thread(exchange.read, self.live.signature)
        answer = at_once(self.infer(request, context))
        if not isinstance(answer, Answer):
            answer = await answer
        return await asyncio.to_thread(_write, exchange, answer, request), answer

    @staticmethod
    async def _serve_later(
        exchange: Exchange[_T], request: InferenceRequest, pending: Later[Answer]
    ) -> tuple[_T, Answer]:
        answer = await pending
        return _write(exchange, answer, request), answer

    def infer(
        self, request: InferenceRequest, context: RequestContext
    ) -> Steps[Answer | Later[Answer]]:
        """Answer one request, at once or later, step by step.

        Args:
            request: What the transport has read.
            context: What else it knows of the request.

        Raises:
            ProtocolError: No arm was assigned, and nothing was recorded.
        """
        _check_client_id(request.client_id)
        if self._held is not None:
            return self._after(self._held, request, context)
        live = self.live
        assigned = assign(live, self.key, request.payload, context)
        time_ms = time.time_ns() // 1_000_000
        request_id = mint(
            self.key,
            nonce=assigned.nonce,
            time_ms=time_ms,
            revision=live.served.revision.number,
            arm=assigned.arm.index,
            propensity=assigned.propensity,
        )
        call = _Call(live, request, context, assigned, request_id, time_ms)
        yield
        result = _predict(call)
        if type(result) is CoroutineType:
            return self._later(call, result)
        yield
        kept = self._keep(call, result)  # type: ignore[arg-type]  # no coroutine
        yield
        return self._finish(call, result, kept)  # type: ignore[arg-type]  # no coroutine

    async def _after(
        self, held: asyncio.Event, request: InferenceRequest, context: RequestContext
    ) -> Answer:
        await held.wait()
        answer = at_once(self.infer(request, context))
        return answer if isinstance(answer, Answer) else await answer

    async def _later(self, call: _Call, pending: Later[Prediction]) -> Answer:
        result: _Result
        try:
            result = await pending
        except ProtocolError as error:
            result = error
        if call.request.n_rows <= FEW_ROWS:
            return self._finish(call, result, self._keep(call, result))
        # Copying many rows for the journal takes as long as reading them.
        return self._finish(call, result, await asyncio.to_thread(self._keep, call, result))

    def _keep(self, call: _Call, result: _Result) -> Kept | None:
        """Copy what the journal keeps; None without rows."""
        if not call.request.n_rows:
            return None
        prediction = None if isinstance(result, ProtocolError) else result
        return self._recorder.keep(call.request, prediction, call.live)

    def _finish(self, call: _Call, result: _Result, kept: Kept | None) -> Answer:
        answer = self._answer(call, result)
        if kept is not None:
            self._recorder.record(
                call.live,
                call.request,
                call.context,
                call.assigned,
                answer.result,
                kept,
                call.time_ms,
            )
        return answer

    def _answer(self, call: _Call, result: _Result) -> Answer:
        arm, revision = call.assigned.arm, call.live.served.revision
        response: InferenceResponse | ProtocolError
        if isinstance(result, ProtocolError):
            response = result
            if 400 <= http_status(result.kind) < 500:
                self._refusals.note(arm.arm.name, result)
        else:
            response = InferenceResponse(
                prediction=result,
                request_id=call.request_id,
                deployment=revision.spec.name,
                revision=revision.number,
                arm=arm.arm.name,
                arm_index=arm.index,
                version=arm.version,
                client_id=call.request.client_id,
                output_names=arm.signature.outputs or None,
            )
        return Answer(response, call.request_id, arm.arm.name, revision.number)

    def score(self, rows: list[Any]) -> list[list[Any]]:
        """Ask every arm about the same rows; nothing is drawn, counted or recorded.

        Args:
            rows: Each an object, column name to cell, or a list of cells; all of one kind.

        Returns:
            One list of n predictions per arm.

        Raises:
            ProtocolError: A model refuses the rows.
        """
        payload = Records(rows) if isinstance(rows[0], dict) else Rows(rows)
        return [_scored(arm, payload) for arm in self.live.arms]

    @property
    def faults(self) -> list[str]:
        """Why this server should get no traffic now, a sentence each; empty if it should.

        An endpoint that is down is no reason: it is down for every server, and the other arms
        answer. Nor is the journal, whose loss costs decisions but no answer.
        """
        here = (arm for arm in self.live.arms if arm.arm.weight > 0 and arm.remote is None)
        return [arm.runner.fault for arm in here if arm.runner.fault]

    def close(self) -> None:
        """Release threads; predictions in progress are not waited for."""
        self._recorder.close()
        for arm in self.live.arms:
            arm.runner.close()


@dataclass(slots=True)
class _Call:
    """One request between its assignment and its answer."""

    live: LiveRevision
    request: InferenceRequest
    context: RequestContext
    assigned: Assignment
    request_id: str
    time_ms: int


def _predict(call: _Call) -> _Result | Later[Prediction]:
    """Have the arm's runner predict, at once or later; a failure is a result too."""
    deadline_s = DEADLINE_S
    if call.context.deadline_s is not None:
        deadline_s = min(call.context.deadline_s, DEADLINE_S)
    request = call.request
    try:
        return call.assigned.arm.runner.predict(request.payload, request.parameters, deadline_s)
    except ProtocolError as error:
        return error


def _write(exchange: Exchange[_T], answer: Answer, request: InferenceRequest) -> _T:
    """Write an answer; one that has no form in this protocol is the model's failure."""
    if isinstance(answer.result, ProtocolError):
        return exchange.write_error(answer.result)
    try:
        return exchange.write(answer.result, request)
    except ProtocolError as error:
        return exchange.write_error(error)


def _scored(arm: LiveArm, payload: Payload) -> list[Any]:
    rows = rows_of(arm.loaded.model.predict(payload, {}), payload.n_rows)
    if rows is None:
        raise ProtocolError(
            Kind.MISMATCH,
            f"The model of `{arm.arm.name}` answers {payload.n_rows} rows as a whole.",
        )
    return rows


def _check_client_id(client_id: str | None) -> None:
    """Refuse an id that the journal cannot keep and find again."""
    if client_id is not None and not is_client_id(client_id):
        raise ProtocolError(
            Kind.MALFORMED,
            f"An id of the caller's own may have up to {MAX_CLIENT_ID} printable characters, "
            f"not be {client_id[:40]!a} with its {len(client_id)}.",
        )
