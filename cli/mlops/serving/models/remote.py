"""A model that another server answers for.

Each endpoint has connections, limits and a breaker of its own, so that one that is slow or away
holds nothing that another needs. Only the URL of the spec is ever requested.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import orjson

from mlops.errors import MODEL_FAILED, InvalidInputError, RemoteError
from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.protocols.clients import CLIENT_CODECS
from mlops.protocols.clients.base import refusal
from mlops.protocols.predictions import by_row
from mlops.runtimes.base import LoadedModel
from mlops.serving.models.breaker import Breaker
from mlops.spec.endpoint import Endpoint
from mlops.tables.signature import Column, Signature

if TYPE_CHECKING:
    from mlops.serving.models.pool import Pool

_LOG = logging.getLogger(__name__)
_DEADLINE_S = 30.0
_PROBE_S = 5.0
# How often one that is up is asked what it takes: it may be updated without being away.
_LEARN_S = 60.0
_MAX_WAITING = 512
_FEW_ROWS = 64
_MAX_ANSWER = 64 * 1024 * 1024
_MLFLOW_TYPES = {
    "FP64": "double", "FP32": "float", "FP16": "float", "INT64": "long", "INT32": "integer",
    "BOOL": "boolean", "BYTES": "string",
}  # fmt: skip


class RemoteModel:
    """Asks one endpoint: `ask` on the event loop, `predict` as a `ServableModel` for threads.

    Args:
        endpoint: Where it is.
        arm: The arm or shadow it answers for, named in errors.
        deadline_s: How long an answer may take.
        max_answer: How large it may be, in bytes.

    Raises:
        InvalidInputError: The variable of its token is not set.

    Attributes:
        endpoint: As given.
        arm: As given.
        up: What the last probe found; None before the first.
        signature: What its metadata said last that it takes; empty if it says nothing, and until it
            is up.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        arm: str,
        *,
        deadline_s: float = _DEADLINE_S,
        max_answer: int = _MAX_ANSWER,
    ) -> None:
        self.endpoint = endpoint
        self.arm = arm
        self.up: bool | None = None
        self.signature = Signature()
        self._deadline_s = deadline_s
        self._max_answer = max_answer
        self._asking = CLIENT_CODECS.load(endpoint.protocol)
        self._headers = _headers(endpoint, arm)
        self._columns: Mapping[str, str] = {}
        # When it is to be asked what it takes.
        self._learn_at = 0.0
        self._breaker = Breaker()
        self._under_way = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: Pool | None = None

    def look(self) -> None:
        """Ask whether the model is there, and what it takes. Never on an event loop.

        Raises:
            RemoteError: It is not there, or not ready.
        """
        asyncio.run(self._look())

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """See `ServableModel.predict`; from any thread but that of the event loop."""
        if self._loop is None:
            raise self._fault(Kind.NOT_READY, "is not in use yet")
        asked = self.ask(payload, parameters)
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    async def ask(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """Predict every row of `payload`.

        Raises:
            ProtocolError: `MISMATCH` if the endpoint refuses the rows; `UPSTREAM`, `NOT_READY` or
                `DEADLINE` if it cannot be asked or fails. The message names the arm.
        """
        # Large ones would delay all other requests on the event loop.
        is_large = payload.n_rows > _FEW_ROWS
        encode = partial(self._asking.encode, payload, parameters, self._columns)
        body = await asyncio.to_thread(encode) if is_large else encode()
        if self._under_way >= _MAX_WAITING:
            raise self._fault(Kind.NOT_READY, f"has {_MAX_WAITING} requests waiting already")
        if not self._breaker.allows():
            raise self._fault(Kind.NOT_READY, f"is not called for a second: {self._breaker.reason}")
        self._under_way += 1
        try:
            status, answer = await self._post(body)
        finally:
            self._under_way -= 1
        if status != 200:
            raise self._refused(status, answer)
        try:
            if is_large:
                prediction = await asyncio.to_thread(self._asking.decode, answer)
            else:
                prediction = self._asking.decode(answer)
        except ProtocolError as error:
            raise ProtocolError(error.kind, f"{self._name}: {error.message}") from error
        if by_row(prediction, payload.n_rows) is None:
            rows = len(prediction) if isinstance(prediction, list | np.ndarray) else 1
            sizes = f"{rows} rows to a request of {payload.n_rows}"
            raise ProtocolError(Kind.MODEL_FAILED, f"{MODEL_FAILED}: it answered {sizes}.")
        return prediction

    async def probe(self) -> None:
        """Probe whether it is up, and close its breaker if it is."""
        try:
            await self._check(self._open())
            # On a cluster this server is often up before the model; and one that restarts may be
            # another model.
            if self.up is False or time.monotonic() >= self._learn_at:
                await self._learn(self._open())
        except RemoteError as error:
            if self.up is not False:
                _LOG.warning("%s", error.message)
            self.up = False
        else:
            if self.up is False:
                _LOG.info("%s is up", self._name)
            self.up = True
            self._breaker.close()

    def attach(self) -> None:
        """Belong to the running event loop, on which it will be asked."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Close its connections; it may be asked again, and then opens others."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    @property
    def _name(self) -> str:
        return f"The endpoint of `{self.arm}`"

    def _fault(self, kind: Kind, what: str) -> ProtocolError:
        return ProtocolError(kind, f"{self._name} {what}.")

    def _open(self) -> Pool:
        if self._pool is None:
            self._pool = self._new_pool(self._deadline_s)
        return self._pool

    def _new_pool(self, timeout_s: float) -> Pool:
        # Not before it is needed: most servers have no endpoint to ask.
        from mlops.serving.models.pool import Pool

        return Pool(self._headers, timeout_s=timeout_s, max_answer=self._max_answer)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        from mlops.serving.models.pool import TooLargeError, UnreachableError

        try:
            answered = await self._open().ask("POST", self.endpoint.url, body)
        except TimeoutError:
            reason = f"took longer than {self._deadline_s:g} s"
            self._breaker.fail(f"it {reason}")
            raise self._fault(Kind.DEADLINE, reason) from None
        except UnreachableError as error:
            self._breaker.fail(str(error))
            raise self._fault(Kind.UPSTREAM, f"cannot be reached: {error}") from error
        except TooLargeError:
            size = f"more than {self._max_answer:,} bytes"
            raise self._fault(Kind.UPSTREAM, f"answered with {size}") from None
        self._breaker.close()
        return answered

    def _refused(self, status: int, body: bytes) -> ProtocolError:
        said = f"{status}: {refusal(body)}" if body else str(status)
        if status in (400, 422):
            # It may be another model by now: the next probe looks.
            self._learn_at = 0.0
            return self._fault(Kind.MISMATCH, f"refused the rows with {said}")
        if status in (401, 403):
            # Its message may repeat the request.
            return self._fault(Kind.UPSTREAM, f"refused our credentials with {status}")
        if status == 503:
            return self._fault(Kind.NOT_READY, f"is not ready, and said {said}")
        if status == 504:
            return self._fault(Kind.DEADLINE, f"ran out of time, and said {said}")
        if 300 <= status < 400:
            return self._fault(Kind.UPSTREAM, f"answered {status}; redirects are not followed")
        return self._fault(Kind.UPSTREAM, f"failed with {said}")

    async def _look(self) -> None:
        pool = self._new_pool(_PROBE_S)
        try:
            await self._check(pool)
            await self._learn(pool)
        finally:
            await pool.close()

    async def _check(self, pool: Pool) -> None:
        """Ask the endpoint's own health path."""
        from mlops.serving.models.pool import TooLargeError, UnreachableError

        url = _health_url(self.endpoint)
        try:
            async with asyncio.timeout(_PROBE_S):
                status, _ = await pool.ask("GET", url)
        except (TimeoutError, UnreachableError, TooLargeError) as error:
            raise RemoteError(
                f"{self._name} cannot be reached at `{self.endpoint.base}`: "
                f"{str(error) or 'it does not answer in time'}.",
                hint="Start it, or deploy without it.",
            ) from error
        if status in (502, 503, 504) or (not self.endpoint.wire.answers_anything and status >= 300):
            raise RemoteError(
                f"{self._name} is not ready: `GET {urlsplit(url).path}` at "
                f"`{self.endpoint.base}` answers {status}.",
                hint="Does it have a model of this name, and is its token right?",
            )

    async def _learn(self, pool: Pool) -> None:
        """Take the columns from a V2 server's metadata; what is not a table says nothing."""
        from mlops.serving.models.pool import TooLargeError, UnreachableError

        if self.endpoint.protocol != "v2":
            return
        try:
            async with asyncio.timeout(_PROBE_S):
                status, body = await pool.ask("GET", self.endpoint.url.removesuffix("/infer"))
            self._learn_at = time.monotonic() + _LEARN_S if status == 200 else 0.0
            metadata = orjson.loads(body)
            inputs = {str(each["name"]): str(each["datatype"]) for each in metadata["inputs"]}
            tails = [list(each["shape"])[1:] for each in metadata["inputs"]]
            outputs = tuple(str(each["name"]) for each in metadata.get("outputs") or ())
        except (
            TimeoutError, UnreachableError, TooLargeError,
            AttributeError, KeyError, TypeError, ValueError,
        ):  # fmt: skip
            return
        if not inputs or any(tail not in ([], [1]) for tail in tails):
            self._columns, self.signature = {}, Signature()
            return
        if self._columns and self._columns != inputs:
            _LOG.warning("%s takes other columns: %s", self._name, ", ".join(inputs)[:500])
        self._columns = inputs
        columns = tuple(Column(k, _MLFLOW_TYPES.get(v, "double")) for k, v in inputs.items())
        # MLServer and mlops give an output without a name this one.
        named = () if outputs == ("output-1",) else outputs
        self.signature = Signature(columns=columns, outputs=named)


def connect(endpoint: Endpoint, arm: str, *, strict: bool) -> tuple[LoadedModel, RemoteModel]:
    """Make the model of an endpoint, and ask whether it is there. Never on an event loop.

    Args:
        endpoint: Where it is.
        arm: Name of the arm or shadow it answers for.
        strict: Refuse one that does not answer, rather than say so in a note.

    Raises:
        InvalidInputError: It does not answer, or its token is missing.
    """
    remote = RemoteModel(endpoint, arm)
    notes: tuple[str, ...] = ()
    try:
        remote.look()
    except RemoteError as error:
        if strict:
            raise InvalidInputError(error.message, hint=error.hint) from error
        _LOG.warning("%s", error.message)
        notes = (error.message,)
    return LoadedModel(remote, remote.signature, "remote", None, float("nan"), notes), remote


def _headers(endpoint: Endpoint, arm: str) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if endpoint.token:
        token = os.environ.get(endpoint.token, "").strip()
        if not token or not token.isprintable() or not token.isascii():
            raise InvalidInputError(
                f"The token of the endpoint of `{arm}` should be in the environment variable "
                f"`{endpoint.token}`, which is empty or holds something else.",
                hint=f"export {endpoint.token}=… before the server is started.",
            )
        headers["authorization"] = f"Bearer {token}"
    if endpoint.seldon_model:
        headers["seldon-model"] = endpoint.seldon_model
    return headers


def _health_url(endpoint: Endpoint) -> str:
    url = endpoint.url.removesuffix(endpoint.wire.end)
    return endpoint.wire.health.format(url=url, base=endpoint.base)
