"""HTTP: a thin ASGI callable for predictions and feedback, pages behind it.

It maps requests to the data plane's, and its answers into bytes and statuses; nothing that holds
for other transports too is decided here.

Specification: ASGI 3.0, https://asgi.readthedocs.io/en/latest/specs/www.html. The two hot routes
do without a framework because on this path it would cost more than the model; everything else is
handed to an ordinary Starlette application.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeAlias

import orjson

from mlops.journal.base import JournalUnavailableError
from mlops.journal.writer import JournalWriter
from mlops.protocols import CODECS
from mlops.protocols.base import (
    CLIENT_ID_HEADER,
    Codec,
    Encoded,
    Kind,
    Payload,
    ProtocolError,
)
from mlops.protocols.json_body import read_object
from mlops.protocols.outcomes import read_outcomes
from mlops.protocols.seldon_v1 import write_branch
from mlops.serving.access import Gate, Grant
from mlops.serving.access.gate import Names
from mlops.serving.access.required_scopes import is_live_page, need_of
from mlops.serving.browsers import Guard, form_type
from mlops.serving.dataplane import Answer, DataPlane, Exchange
from mlops.serving.explaining import Explainer, output_of
from mlops.serving.feedback_results import REFUSALS
from mlops.serving.feedback_service import FeedbackService, journal_fault
from mlops.serving.http_answers import (
    ALLOW,
    CLOSE,
    Headers,
    Send,
    answer_headers,
    further_headers,
    own_error,
    send_answer,
    text_error,
    write_answer,
)
from mlops.serving.live_page.pages import REFUSED, SCOPES, STILL
from mlops.serving.live_page.session import Sessions
from mlops.serving.lockstep import Lockstep, Steps, at_once
from mlops.serving.metrics import Metrics
from mlops.serving.outlier_check import ASKS, OutlierCheck, is_asked
from mlops.serving.request_bodies import (
    SMALL_BODY,
    MemoryBudget,
    Receive,
    off_the_loop,
    read_body,
    release,
)
from mlops.serving.request_context import RequestContext
from mlops.serving.revision import LiveRevision
from mlops.serving.routes import Route, find_route

Scope: TypeAlias = MutableMapping[str, Any]
#: Where a scope has the names of its connection's client certificate.
NAMES = "mlops.names"
# By which a tester chooses the arm.
_FORCED_ARM = "x-mlops-arm"
# Heads that are remembered.
_MAX_KNOWN = 256
_MAX_SCORED = 10_000
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A request's line and headers, checked: its body is all that is still to be read.

    Attributes:
        route: Where it goes.
        codec: Reads and writes it.
        headers: Names in lower case.
        length: Bytes of its body.
        keep_alive: Whether the connection is kept after the answer.
        repeats: Whether another request may have the same head.
        grant: What its caller may do.
        names: Those of the certificate on connections where it counts.
    """

    route: Route
    codec: Codec
    headers: Mapping[str, str]
    length: int
    keep_alive: bool
    repeats: bool
    grant: Grant
    names: Names = ()


class App:
    """The ASGI application of one deployment's public port.

    Args:
        plane: Answers predictions.
        feedback: Takes feedback.
        writer: Where feedback is stored.
        metrics: Counts what could not be read.
        pages: Everything that is not a prediction or feedback.
        gate: Says who may do what.
        budget: How much all large bodies may have together.
        guard: Refuses what web pages send.
        explainer: Says why arms answer what they do; None where nothing does.
        outliers: Looks at the rows of callers who ask whether they are outliers.
        sessions: Reads the cookie of the live page; None where there is no such page.
    """

    def __init__(
        self,
        plane: DataPlane,
        feedback: FeedbackService,
        writer: JournalWriter,
        metrics: Metrics,
        pages: Application,
        gate: Gate,
        budget: MemoryBudget,
        guard: Guard,
        explainer: Explainer | None = None,
        outliers: OutlierCheck | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._plane = plane
        self._feedback_service = feedback
        self._writer = writer
        self._metrics = metrics
        self._pages = pages
        self._budget = budget
        self._guard = guard
        self._gate = gate
        self._explainer = explainer
        self._outliers = outliers
        self._sessions = sessions
        self._scoring = asyncio.Lock()
        #: Heads that were recognised, by their bytes; of all connections, as callers have many.
        self.known: dict[bytes, KnownHead] = {}
        #: Answers recognised requests.
        self.lockstep = Lockstep(self.answer, self._turn_away)
        self._crowded: dict[tuple[str, bool], bytes] = {}
        self._crowded_at = 0
        gate.on_change(self.known.clear)
        self._codecs: dict[str, Codec] = {
            **{name: CODECS.load(name) for name in CODECS},
            **CODECS.others(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as ASGI asks."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        route = find_route(scope["path"])
        refused = self._guard.refusal(scope)
        if refused:
            await send_answer(send, text_error(*refused), CLOSE)
            return
        try:
            grant = self._admit(scope, route)
        except ProtocolError as error:
            if self._sessions is None or not is_live_page(scope["path"]):
                await send_answer(send, own_error(error), further_headers(error))
                return
            # A browser is shown a form in its place.
            scope = {**scope, REFUSED: error}
        else:
            if self._sessions is not None and is_live_page(scope["path"]):
                scope = {**scope, SCOPES: grant.scopes, STILL: partial(self._is_admitted, scope)}
        if route is None:
            await self._pages(scope, receive, send)
        elif scope["method"] != "POST":
            await send_answer(send, text_error(405, "Only POST is accepted here."), ALLOW)
        else:
            await self._serve(route, grant, scope, receive, send)

    def recognise(self, scope: Scope, *, keep_alive: bool) -> KnownHead | None:
        """Check the head of a request once, for `answer`; None if ASGI is to deal with it.

        Most requests are predictions of a few rows, with a body of known size that is not packed.
        For those ASGI costs more than the answer. Everything that could be refused goes the other
        way, where refusals are.

        Args:
            scope: Of ASGI.
            keep_alive: Whether the connection is kept after the answer.
        """
        route = find_route(scope["path"])
        other = route is None or route.feedback or route.score or route.explain
        if route is None or other or scope["method"] != "POST":
            return None
        pairs = scope["headers"]
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in pairs}
        length = headers.get("content-length", "")
        if (
            len(headers) != len(pairs)
            or not _SPECIAL.isdisjoint(headers)
            or not (length.isascii() and length.isdigit() and int(length) <= SMALL_BODY)
            or self._guard.refusal(scope)
            or form_type(headers, route.protocol)
            or ASKS in headers
        ):
            return None
        try:
            grant = self._admit(scope, route, spend=False)
        except ProtocolError:
            return None
        return KnownHead(
            route=route,
            codec=self._codecs[route.protocol],
            headers=headers,
            length=int(length),
            keep_alive=keep_alive,
            repeats=keep_alive and _UNIQUE.isdisjoint(headers),
            grant=grant,
            names=scope.get(NAMES, ()),
        )

    def remember(self, written: bytes, head: KnownHead) -> None:
        """Cache a head, to recognise it without parsing."""
        if len(self.known) >= _MAX_KNOWN:
            self.known.clear()
        self.known[written] = head

    def answer(self, head: KnownHead, body: bytes) -> Steps[bytes | Coroutine[Any, Any, bytes]]:
        """Answer a recognised request, step by step.

        Returns:
            The whole answer, status, headers and body; or a coroutine of it, where a model takes
            its time.
        """
        try:
            if head.grant.is_limited:
                head.grant.check("predict")
                head.grant.spend()
            served = yield from self._served(head.route, head.codec, body, head.headers, head.grant)
            if type(served) is not tuple:
                return self._answer_later(head, served)  # type: ignore[arg-type]  # no tuple
            encoded, answer = served
        except ProtocolError as error:
            return self.refuse(head, error)
        return write_answer(encoded, answer, head.keep_alive)

    async def _answer_later(
        self, head: KnownHead, pending: Coroutine[Any, Any, tuple[Encoded, Answer]]
    ) -> bytes:
        try:
            encoded, answer = await pending
        except ProtocolError as error:
            return self.refuse(head, error)
        return write_answer(encoded, answer, head.keep_alive)

    def refuse(self, head: KnownHead, error: ProtocolError) -> bytes:
        """Answer a recognised request that gets no arm."""
        self._metrics.refused[head.route.protocol] += 1
        return write_answer(head.codec.encode_error(error), error, head.keep_alive)

    def _turn_away(self, head: KnownHead) -> bytes:
        self._metrics.refused[head.route.protocol] += 1
        now, protocol = int(time.time()), head.route.protocol
        if now != self._crowded_at:
            # Thousands in a second are the same, and this costs least.
            self._crowded_at, self._crowded = now, {}
        written = self._crowded.get((protocol, head.keep_alive))
        if written is None:
            written = write_answer(head.codec.encode_error(_CROWDED), _CROWDED, head.keep_alive)
            self._crowded[protocol, head.keep_alive] = written
        return written

    def _admit(self, scope: Scope, route: Route | None, *, spend: bool = True) -> Grant:
        """Admit a request; see `Gate.admit`."""
        sent = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        need = need_of(scope["path"], route)
        if self._sessions is not None and not sent and is_live_page(scope["path"]):
            cookies = b"; ".join(v for k, v in scope["headers"] if k == b"cookie")
            grant = self._sessions.grant(cookies.decode("latin-1")) if cookies else None
            if grant is not None:
                grant.check(need)
                if spend:
                    grant.spend()
                return grant
        return self._gate.admit(sent, need, scope.get(NAMES, ()), spend=spend)

    def _is_admitted(self, scope: Scope) -> bool:
        """Whether a request that goes on would be admitted again."""
        try:
            self._admit(scope, None, spend=False)
        except ProtocolError:
            return False
        return True

    async def _serve(
        self, route: Route, grant: Grant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        codec = self._codecs.get(route.protocol)
        extra: Headers = ()
        body: bytes | None = None
        try:
            media = form_type(headers, route.protocol)
            if media:
                raise ProtocolError(
                    Kind.UNSUPPORTED_MEDIA,
                    f"Content-Type: {media} is not accepted here; send `application/json`.",
                )
            body = await read_body(receive, headers, self._budget)
            if body is None:
                return
            if route.score:
                encoded = await self._score(body)
            elif route.explain:
                encoded = await self._explain(route, body, headers)
            elif route.feedback:
                encoded = await self._feedback(route, body, headers, grant)
            else:
                assert codec is not None
                encoded, extra = await self._predict(route, codec, body, headers, grant)
        except (TimeoutError, ProtocolError, JournalUnavailableError) as fault:
            error = _refusal(fault)
            if error is fault:
                self._metrics.refused[route.protocol] += 1
            encoded = codec.encode_error(error) if codec else own_error(error)
            extra = further_headers(error)
        finally:
            if body is not None:
                release(body, self._budget)
        await send_answer(send, encoded, extra)

    async def _predict(
        self, route: Route, codec: Codec, body: bytes, headers: Mapping[str, str], grant: Grant
    ) -> tuple[Encoded, Headers]:
        served = at_once(self._served(route, codec, body, headers, grant))
        encoded, answer = served if isinstance(served, tuple) else await served
        extra = answer_headers(answer)
        if self._outliers is not None and is_asked(headers):

            def read(live: LiveRevision) -> Payload:
                return codec.decode(body, headers, live.signature).payload

            found = await self._outliers.of(answer, read)
            extra += tuple((name.encode(), value.encode()) for name, value in found)
        return encoded, extra

    def _served(
        self, route: Route, codec: Codec, body: bytes, headers: Mapping[str, str], grant: Grant
    ) -> Steps[tuple[Encoded, Answer] | Coroutine[Any, Any, tuple[Encoded, Answer]]]:
        get = headers.get
        live = self._plane.live
        unit = live.unit_header
        if route.branch is not live.in_graph:
            raise ProtocolError(Kind.UNKNOWN_MODEL, _NO_GRAPH if route.branch else _IN_GRAPH)
        context = RequestContext(
            route.protocol,
            len(body),
            time.perf_counter_ns(),
            route.model,
            route.version,
            get(_FORCED_ARM, ""),
            get("idempotency-key", ""),
            get(unit, "") if unit else "",
            key_id=grant.key_id,
            may_force=grant.may_force,
        )
        write = write_branch if route.branch else codec.encode
        exchange = Exchange(partial(codec.decode, body, headers), write, codec.encode_error)
        return self._plane.serve(exchange, context)

    async def _feedback(
        self, route: Route, body: bytes, headers: Mapping[str, str], grant: Grant
    ) -> Encoded:
        if route.protocol == "seldon-v1":
            return await self._seldon_feedback(route, body, headers, grant)
        return await self._own_feedback(body, headers, grant)

    async def _own_feedback(self, body: bytes, headers: Mapping[str, str], grant: Grant) -> Encoded:
        outcomes = await off_the_loop(
            len(body), read_outcomes, body, headers.get("content-type", "")
        )
        told = await self._feedback_service.answer(outcomes, self._writer, grant.key_id)
        document: dict[str, Any] = {"counts": told.counts}
        # `fate` is what `status` was called before.
        if told.outcome is not None:
            document["outcome"] = {
                "status": told.outcome.fate,
                "fate": told.outcome.fate,
                "arm": told.outcome.arm,
                "revision": told.outcome.revision,
                "late": told.outcome.late,
            }
        if told.warnings:
            document["warnings"] = told.warnings
        if told.unknown_labels:
            document["unknown_labels"] = told.unknown_labels
        if told.after_window:
            document["after_window"] = told.after_window
        if told.problems:
            document["problems"] = [
                {"status": problem.fate, **asdict(problem)} for problem in told.problems
            ]
        status = REFUSALS[told.refused] if told.refused else 200
        return Encoded(status, orjson.dumps(document))

    async def _seldon_feedback(
        self, route: Route, body: bytes, headers: Mapping[str, str], grant: Grant
    ) -> Encoded:
        from mlops.protocols.seldon_v1_feedback import decode_feedback, encode_feedback

        decode = partial(decode_feedback, in_graph=self._plane.live.in_graph)
        outcomes = await off_the_loop(len(body), decode, body, headers)
        told = await self._feedback_service.answer(outcomes, self._writer, grant.key_id)
        late = {"after_window": told.after_window} if told.after_window else {}
        if not told.refused or route.node:
            return encode_feedback({**told.counts, **late})
        return encode_feedback(told.counts, REFUSALS[told.refused], told.problems[0].error)

    async def _explain(self, route: Route, body: bytes, headers: Mapping[str, str]) -> Encoded:
        live = self._plane.live
        if self._explainer is None or route.model != live.served.revision.spec.name:
            raise ProtocolError(Kind.UNKNOWN_MODEL, f"There is no model `{route.model}` here.")
        codec = self._codecs[route.protocol]
        request = await off_the_loop(len(body), codec.decode, body, headers, live.signature)
        # In V1 it stands beside the rows; V2 has parameters.
        document = request.parameters
        if route.protocol == "kserve-v1":
            document = await off_the_loop(len(body), read_object, body)
        found = await self._explainer.explain(request.payload, output=output_of(document))
        return Encoded(200, orjson.dumps({"explanations": found}))

    async def _score(self, body: bytes) -> Encoded:
        """Ask all arms about rows, one request after another: no runner limits these."""
        try:
            rows = (await off_the_loop(len(body), orjson.loads, body))["rows"]
        except (ValueError, KeyError, TypeError):
            rows = None
        if not isinstance(rows, list) or not 0 < len(rows) <= _MAX_SCORED:
            raise ProtocolError(
                Kind.MALFORMED, f"`rows` is a list of 1 to {_MAX_SCORED:,} rows, to be scored."
            )
        async with self._scoring:
            arms = await asyncio.to_thread(self._plane.score, rows)
        return Encoded(200, orjson.dumps({"arms": arms}, option=orjson.OPT_SERIALIZE_NUMPY))


def _refusal(fault: Exception) -> ProtocolError:
    """Say in the form of its protocol why a request was not answered."""
    if isinstance(fault, ProtocolError):
        return fault
    if isinstance(fault, JournalUnavailableError):
        return journal_fault(fault)
    return ProtocolError(Kind.SLOW_BODY, "The body took too long to arrive.")


# What needs more than the body's bytes as they come.
_SPECIAL = frozenset({"transfer-encoding", "content-encoding", "expect", "upgrade"})
# What is new with each request, of headers that callers and proxies send.
_UNIQUE = frozenset(
    {"idempotency-key", CLIENT_ID_HEADER, "x-request-id", "x-b3-traceid", "x-b3-spanid",
     "traceparent", "tracestate", "x-cloud-trace-context", "x-amzn-trace-id", "x-correlation-id"}
)  # fmt: skip
_CROWDED = ProtocolError(
    Kind.BUSY, "More requests arrive than can be answered in time; send this again shortly."
)
_NO_GRAPH = "This server asks its models itself; only a ROUTER of a graph says which to ask."
_IN_GRAPH = "This server is a ROUTER of a graph, which has no model; POST /route says which to ask."
