"""gRPC: predictions in the Open Inference Protocol, and feedback, beside the HTTP port.

It turns messages and metadata into requests of the data plane, and its answers into messages and
statuses; nothing that holds for other transports too is decided here. Metadata has the names of the
headers over HTTP: `authorization`, `x-mlops-arm`, `idempotency-key` and the sticky unit's; the
trailing metadata of an answer, or of an error, says which arm of which revision it is from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError

from mlops import __version__
from mlops.errors import ConflictError
from mlops.journal.base import JournalUnavailableError
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import CLIENT_ID_HEADER, Kind, Payload, ProtocolError
from mlops.protocols.grpc_status import grpc_status
from mlops.protocols.open_inference_grpc import read_request, write_response
from mlops.protocols.open_inference_metadata import NAME
from mlops.protocols.outcomes_grpc import read_feedback
from mlops.protocols.protobuf import Message, MessageClass, methods
from mlops.serving.access import Gate, Grant
from mlops.serving.access.certificates import names_of_grpc
from mlops.serving.access.grants import TooManyRequestsError
from mlops.serving.access.required_scopes import METHODS, Need
from mlops.serving.dataplane import Answer, DataPlane, Exchange, Later
from mlops.serving.description import check_known, describe, is_ready
from mlops.serving.feedback_results import FeedbackResult
from mlops.serving.feedback_service import FeedbackService, journal_fault
from mlops.serving.lockstep import at_once
from mlops.serving.metrics import Metrics
from mlops.serving.outlier_check import OutlierCheck, is_asked
from mlops.serving.request_bodies import (
    SMALL_BODY,
    MemoryBudget,
    admit,
    arriving_within,
    off_the_loop,
    release,
)
from mlops.serving.request_context import RequestContext
from mlops.serving.revision import LiveRevision
from mlops.serving.slow_clients import MAX_HEADER_BYTES

#: Name of the protocol in the journal and the metrics.
PROTOCOL = "open-inference-grpc"
# Both of `grpc`, which has no types.
Context: TypeAlias = Any
_Handler: TypeAlias = Any
_Call: TypeAlias = Callable[[bytes, Context, Grant], Awaitable[bytes]]
_Metadata: TypeAlias = tuple[tuple[str, str], ...]
_Served: TypeAlias = tuple[bytes | ProtocolError, Answer]
_Result = TypeVar("_Result")

_INFERENCE, _FEEDBACK = "inference.GRPCInferenceService", "mlops.v1.Feedback"
_GRACE_S = 5.0
# Longer ones would not fit into the headers that a client accepts by default.
_MAX_DETAILS = 1_000
# What `Retry-After: 1` says over HTTP; gRFC A6.
_RETRY = (("grpc-retry-pushback-ms", "1000"),)
_FURTHER: Mapping[Kind, _Metadata] = {Kind.BUSY: _RETRY, Kind.NOT_READY: _RETRY}
#: gRPC statuses of a single piece of feedback that was not stored.
_REFUSALS = {
    "forged": "INVALID_ARGUMENT",
    "not_allowed": "PERMISSION_DENIED",
    "unknown": "NOT_FOUND",
    "ambiguous": "FAILED_PRECONDITION",
    "conflict": "ALREADY_EXISTS",
    "misfit": "INVALID_ARGUMENT",
    "no_outcome_id": "INVALID_ARGUMENT",
    "no_such_row": "OUT_OF_RANGE",
    "out_of_range": "OUT_OF_RANGE",
}


class GrpcServer:
    """The gRPC port of one deployment. Lives on one event loop.

    Args:
        plane: Answers predictions.
        feedback: Takes feedback.
        writer: Where feedback is stored.
        metrics: Counts what could not be read.
        gate: Says who may do what.
        budget: How much all large messages may have together.
        limit: Bytes of memory that this process may use; None for no limit.
        outliers: Looks at the rows of callers who ask whether they are outliers.
    """

    def __init__(
        self,
        plane: DataPlane,
        feedback: FeedbackService,
        writer: JournalWriter,
        metrics: Metrics,
        gate: Gate,
        budget: MemoryBudget,
        limit: int | None = None,
        outliers: OutlierCheck | None = None,
    ) -> None:
        self._plane = plane
        self._feedback_service = feedback
        self._writer = writer
        self._metrics = metrics
        self._gate = gate
        self._budget = budget
        self._outliers = outliers
        # gRPC reads a message before passing it on, so that memory cannot be reserved first.
        self._most, self._largest = arriving_within(limit)
        self._inference, self._feedback = methods(_INFERENCE), methods(_FEEDBACK)
        told = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
        }
        calls: dict[str, _Call] = {
            f"/{_INFERENCE}/{name}": self._told(*self._inference[name], tell)
            for name, tell in told.items()
        }
        calls |= {f"/{_INFERENCE}/ModelInfer": self._infer, f"/{_FEEDBACK}/Send": self._send}
        # Messages are parsed and serialised here, a large one in a thread.
        self._calls = {
            path: grpc.unary_unary_rpc_method_handler(self._guarded(call, METHODS[path]))
            for path, call in calls.items()
        }
        self._stopping = asyncio.Event()
        self._server: Any = None

    def service(self, details: Any) -> _Handler | None:  # noqa: ANN401 - of `grpc`
        """Return what answers a call, as a `grpc.GenericRpcHandler`; None if nothing does."""
        call = self._calls.get(details.method)
        # Whose certificate it is is checked later; without one no client connects.
        if call is None or self._gate.reads_certificates:
            return call
        sent = dict(details.invocation_metadata or ()).get("authorization", "")
        try:
            self._gate.admit(_bytes(sent), METHODS[details.method], spend=False)
        except ProtocolError as error:
            # Answers before the message is read.
            return grpc.stream_unary_rpc_method_handler(_refusing(error))
        return call

    def _guarded(self, call: _Call, need: Need) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def guarded(body: bytes, context: Context) -> bytes:
            sent = dict(context.invocation_metadata() or ()).get("authorization", "")
            names = names_of_grpc(context) if self._gate.reads_certificates else ()
            try:
                grant = self._gate.admit(_bytes(sent), need, names)
            except ProtocolError as error:
                await _abort(context, error)
            return await call(body, context, grant)

        return guarded

    async def start(
        self,
        host: str,
        port: int,
        *,
        shared: bool = False,
        credentials: object = None,
    ) -> None:
        """Listen.

        Args:
            host: Address.
            port: Port.
            shared: Whether other processes of this deployment listen there too.
            credentials: For TLS; None for none.

        Raises:
            ConflictError: The port is taken.
        """
        options = (
            ("grpc.max_receive_message_length", self._largest),
            # Of one connection; its client queues further ones.
            ("grpc.max_concurrent_streams", self._most),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", MAX_HEADER_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),
            # Another server on this port is an error, and not half of the calls.
            ("grpc.so_reuseport", int(shared)),
        )
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=self._most)
        self._server.add_generic_rpc_handlers((self,))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ConflictError(
                f"Port {port} on {host} cannot be used for gRPC: {error}.",
                hint="Choose another with `--grpc-port`.",
            ) from error
        await self._server.start()

    async def serve(self) -> None:
        """Run until `stop`, then give the calls in progress some seconds."""
        await self._stopping.wait()
        await self._server.stop(_GRACE_S)

    def stop(self) -> None:
        """Accept no more calls."""
        self._stopping.set()

    async def _infer(self, body: bytes, context: Context, grant: Grant) -> bytes:
        started_ns = time.perf_counter_ns()
        try:
            if len(body) > SMALL_BODY:
                served = await _whatever_happens(self._served(body, context, started_ns, grant))
            else:
                message = _parsed(self._inference["ModelInfer"][0], body)
                now_or_later = self._serve(message, len(body), context, started_ns, grant)
                if isinstance(now_or_later, tuple):
                    served = now_or_later
                else:
                    served = await _whatever_happens(now_or_later)
        except ProtocolError as error:
            await self._refuse(error, context)
        written, answer = served
        trailing: _Metadata = (
            ("x-mlops-request-id", answer.request_id),
            ("x-mlops-arm", answer.arm),
            ("x-mlops-revision", str(answer.revision)),
        )
        if isinstance(written, ProtocolError):
            await _abort(context, written, trailing)
        if self._outliers is not None and is_asked(dict(context.invocation_metadata() or ())):

            def read(live: LiveRevision) -> Payload:
                message = _parsed(self._inference["ModelInfer"][0], body)
                return read_request(message, live.signature).payload

            trailing += await self._outliers.of(answer, read)
        context.set_trailing_metadata(trailing)
        return written

    async def _served(
        self, body: bytes, context: Context, started_ns: int, grant: Grant
    ) -> _Served:
        """Answer a request that is large."""
        admit(body, self._budget)
        try:
            kind = self._inference["ModelInfer"][0]
            message = await asyncio.to_thread(_parsed, kind, body)
            served = self._serve(message, len(body), context, started_ns, grant)
            return served if isinstance(served, tuple) else await served
        finally:
            release(body, self._budget)

    def _serve(
        self, message: Message, size: int, context: Context, started_ns: int, grant: Grant
    ) -> _Served | Later[_Served]:
        metadata = dict(context.invocation_metadata() or ())
        header = self._plane.live.unit_header
        request = RequestContext(
            protocol=PROTOCOL,
            size=size,
            started_ns=started_ns,
            model=message.model_name,
            version=message.model_version,
            forced_arm=metadata.get("x-mlops-arm", ""),
            idempotency_key=metadata.get("idempotency-key", ""),
            unit=metadata.get(header, "") if header else "",
            deadline_s=context.time_remaining(),
            key_id=grant.key_id,
            may_force=grant.may_force,
        )
        client_id = metadata.get(CLIENT_ID_HEADER, "")
        exchange: Exchange[bytes | ProtocolError] = Exchange(
            partial(read_request, message, client_id=client_id), _write, _same
        )
        return at_once(self._plane.serve(exchange, request))

    async def _send(self, body: bytes, context: Context, grant: Grant) -> bytes:
        request, response = self._feedback["Send"]
        try:
            message = await off_the_loop(len(body), _parsed, request, body)
            outcomes = await off_the_loop(len(body), read_feedback, message)
            told = await self._feedback_service.answer(outcomes, self._writer, grant.key_id)
        except ProtocolError as error:
            await self._refuse(error, context)
        except JournalUnavailableError as fault:
            await _abort(context, journal_fault(fault))
        if told.refused:
            code = grpc.StatusCode[_REFUSALS[told.refused]]
            await context.abort(code, told.problems[0].error[:_MAX_DETAILS])
        written: bytes = _receipt(response, told).SerializeToString()
        return written

    async def _refuse(self, error: ProtocolError, context: Context) -> NoReturn:
        """Fail a call that no arm was assigned to."""
        self._metrics.refused[PROTOCOL] += 1
        await _abort(context, error)

    def _told(
        self,
        request: MessageClass,
        response: MessageClass,
        tell: Callable[[Message], dict[str, Any]],
    ) -> _Call:
        """Return a call that is answered from what is live."""

        async def call(body: bytes, context: Context, grant: Grant) -> bytes:
            try:
                fields = tell(_parsed(request, body))
            except ProtocolError as error:
                await self._refuse(error, context)
            written: bytes = response(**fields).SerializeToString()
            return written

        return call

    def _live(self, message: Message) -> dict[str, Any]:
        return {"live": True}

    def _ready(self, message: Message) -> dict[str, Any]:
        return {"ready": is_ready(self._plane)}

    def _model_ready(self, message: Message) -> dict[str, Any]:
        check_known(self._plane.live, message.name, message.version)
        return {"ready": is_ready(self._plane, message.version)}

    def _server_metadata(self, message: Message) -> dict[str, Any]:
        return {"name": NAME, "version": __version__}

    def _model_metadata(self, message: Message) -> dict[str, Any]:
        check_known(self._plane.live, message.name, message.version)
        model = describe(self._plane.live)
        return {
            "name": model.name,
            "versions": model.versions,
            "platform": NAME,
            "inputs": [_tensor(*tensor) for tensor in model.inputs],
            "outputs": [_tensor(*tensor) for tensor in model.outputs],
        }


def _tensor(name: str, datatype: str, shape: object) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def _parsed(kind: MessageClass, body: bytes) -> Message:
    """Read a message.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    try:
        return kind.FromString(body)
    except DecodeError as error:
        text = f"The message is not a `{kind.DESCRIPTOR.full_name}`."
        raise ProtocolError(Kind.MALFORMED, text) from error


async def _whatever_happens(pending: Later[_Result]) -> _Result:
    """Wait for what continues in the background.

    A caller that disconnects, or whose time is over, ends the call at once. That must not take the
    decision out of the journal, nor memory from a message that is still being read.
    """
    return await asyncio.shield(asyncio.ensure_future(pending))


def _write(*answered: Any) -> bytes:  # noqa: ANN401 - as of `write_response`
    written: bytes = write_response(*answered).SerializeToString()
    return written


def _same(error: ProtocolError) -> ProtocolError:
    return error


def _receipt(kind: MessageClass, told: FeedbackResult) -> Message:
    only = told.outcome
    return kind(
        counts=told.counts,
        problems=[
            {"index": problem.index, "status": problem.fate, "error": problem.error}
            for problem in told.problems
        ],
        warnings=told.warnings,
        arm=only.arm if only else "",
        revision=only.revision if only else 0,
    )


async def _abort(context: Context, error: ProtocolError, trailing: _Metadata = ()) -> NoReturn:
    await context.abort(
        grpc.StatusCode[grpc_status(error.kind)],
        error.message.encode("utf-8", "replace").decode()[:_MAX_DETAILS],
        (*trailing, *_further(error)),
    )
    raise AssertionError("unreachable")


def _further(error: ProtocolError) -> _Metadata:
    if isinstance(error, TooManyRequestsError):
        return (("grpc-retry-pushback-ms", str(1000 * error.retry_after_s)),)
    return _FURTHER.get(error.kind, ())


def _refusing(error: ProtocolError) -> Callable[[object, Context], Awaitable[None]]:
    async def refuse(messages: object, context: Context) -> None:
        await _abort(context, error)

    return refuse


def _bytes(sent: str | bytes) -> bytes:
    return sent.encode("utf-8", "replace") if isinstance(sent, str) else sent
