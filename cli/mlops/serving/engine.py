"""The heart of the server: draw, predict, write down. It does not know HTTP.

The codec has read the request and will write the answer; the engine turns one into the other and
leaves a decision in the journal for every arm it draws, also where the model then fails.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from mlops.journal.records import Decision
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import (
    Columns,
    InferenceRequest,
    InferenceResponse,
    Kind,
    Payload,
    Prediction,
    ProtocolError,
    Records,
    Rows,
)
from mlops.serving.answers import rows_of
from mlops.serving.drawing import Draw, draw
from mlops.serving.metrics import Metrics
from mlops.serving.refusals import RefusalLog
from mlops.serving.revision import LiveArm, LiveRevision
from mlops.serving.shadows import Shadows
from mlops.spec.request_id import mint

_DEADLINE_S = 30.0
_MODEL_THREADS = 4
# So few rows are predicted, and written down, without leaving the event loop.
_FEW_ROWS = 64
_Kept: TypeAlias = tuple[Any, list[Any] | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

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


class Engine:
    """Answers requests with the live revision. Lives on one event loop.

    Args:
        live: The revision to start with.
        key: The deployment's key.
        writer: Takes the decisions.
        metrics: Takes the counts.
        shadows: Get copies of what was answered.
        features: `all`, `none` or the names of the features to keep with each decision.
    """

    def __init__(
        self,
        live: LiveRevision,
        key: bytes,
        writer: JournalWriter,
        metrics: Metrics,
        shadows: Shadows,
        features: str | tuple[str, ...],
    ) -> None:
        self.live = live
        self.key = key
        self._writer = writer
        self._metrics = metrics
        self._shadows = shadows
        self._features = features
        self._refusals = RefusalLog()
        self._threads = ThreadPoolExecutor(_MODEL_THREADS, thread_name_prefix="model")

    async def answer(
        self,
        request: InferenceRequest,
        headers: Mapping[str, str],
        protocol: str,
        started_ns: int,
        size: int,
    ) -> Answer:
        """Answer one request.

        Args:
            request: What the codec has read.
            headers: Header names in lower case.
            protocol: Name of the codec, for the journal.
            started_ns: `time.perf_counter_ns` when the request had been read.
            size: Bytes of its body.

        Raises:
            ProtocolError: No arm could be drawn; nothing was written down.
        """
        live = self.live
        drawn = draw(live, self.key, request, headers)
        revision = live.served.revision
        time_ms = time.time_ns() // 1_000_000
        request_id = mint(
            self.key,
            nonce=drawn.nonce,
            time_ms=time_ms,
            revision=revision.number,
            arm=drawn.arm.index,
            propensity=drawn.propensity,
        )
        result: InferenceResponse | ProtocolError
        try:
            prediction = await self._predict(drawn.arm, request)
            result = InferenceResponse(
                prediction=prediction,
                request_id=request_id,
                deployment=revision.spec.name,
                revision=revision.number,
                arm=drawn.arm.arm.name,
                arm_index=drawn.arm.index,
                version=drawn.arm.arm.model.public_label,
                client_id=request.client_id,
                output_names=drawn.arm.signature.outputs or None,
            )
        except ProtocolError as error:
            prediction, result = None, error
            if 400 <= error.kind.status < 500:
                self._refusals.note(drawn.arm.arm.name, error)
        if not request.n_rows:
            # There is nothing to learn from.
            return Answer(result, request_id, drawn.arm.arm.name, revision.number)
        if request.n_rows <= _FEW_ROWS:
            kept = self._keep(request, prediction)
        else:
            # To copy the rows for the journal takes as long as to read them.
            kept = await asyncio.to_thread(self._keep, request, prediction)
        self._write_down(
            drawn, request, kept, result, protocol, time_ms, started_ns, revision.number, size
        )
        # A tester's request is in no statistic, of shadows neither.
        if live.shadows and drawn.propensity > 0:
            self._shadows.offer(live, request, drawn.nonce, drawn.unit, size)
        return Answer(result, request_id, drawn.arm.arm.name, revision.number)

    def score(self, rows: list[Any]) -> list[list[Any]]:
        """Ask every arm about the same rows; nothing is drawn, counted or written down.

        Args:
            rows: Each an object, column name to cell, or a list of cells; all of one kind.

        Returns:
            One list of n predictions per arm.

        Raises:
            ProtocolError: A model refuses the rows.
        """
        payload = Records(rows) if isinstance(rows[0], dict) else Rows(rows)
        return [self._scored(arm, payload) for arm in self.live.arms]

    @staticmethod
    def _scored(arm: LiveArm, payload: Payload) -> list[Any]:
        rows = rows_of(arm.loaded.model.predict(payload, {}), payload.n_rows)
        if rows is None:
            raise ProtocolError(
                Kind.MISMATCH,
                f"The model of `{arm.arm.name}` answers {payload.n_rows} rows as a whole.",
            )
        return rows

    async def _predict(self, arm: LiveArm, request: InferenceRequest) -> Prediction:
        if arm.inline and request.n_rows <= _FEW_ROWS:
            return arm.loaded.model.predict(request.payload, request.parameters)
        if arm.remote is not None:
            return await arm.remote.ask(request.payload, request.parameters)
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, arm.loaded.model.predict, request.payload, request.parameters
        )
        try:
            return await asyncio.wait_for(work, _DEADLINE_S)
        except TimeoutError:
            raise ProtocolError(
                Kind.DEADLINE, f"The model took longer than {_DEADLINE_S:g} s."
            ) from None

    def _keep(self, request: InferenceRequest, prediction: Prediction | None) -> _Kept:
        """What the journal keeps of the rows and of the answer."""
        features = _kept(request.payload, self._features)
        return features, None if prediction is None else rows_of(prediction, request.n_rows)

    def _write_down(
        self,
        drawn: Draw,
        request: InferenceRequest,
        kept: _Kept,
        result: InferenceResponse | ProtocolError,
        protocol: str,
        time_ms: int,
        started_ns: int,
        revision: int,
        size: int,
    ) -> None:
        elapsed_ns = time.perf_counter_ns() - started_ns
        status = result.kind.status if isinstance(result, ProtocolError) else 200
        arm = drawn.arm.arm
        self._metrics.arm(arm.name, arm.model.label).count(
            status, request.n_rows, elapsed_ns / 1e9, forced=drawn.propensity == 0
        )
        self._metrics.draws[revision] += drawn.propensity > 0
        self._writer.add_decision(
            Decision(
                nonce=drawn.nonce,
                time_ms=time_ms,
                revision=revision,
                arm=drawn.arm.index,
                propensity=drawn.propensity,
                n_rows=request.n_rows,
                latency_us=elapsed_ns // 1000,
                status=status,
                protocol=protocol,
                client_id=request.client_id,
                unit=drawn.unit,
                features=kept[0],
                predictions=kept[1],
            ),
            size,
        )

    def close(self) -> None:
        """Let go of the threads; predictions under way are not waited for."""
        self._shadows.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _kept(payload: Payload, features: str | tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON data
    """What the journal keeps of a request's rows."""
    if features == "none":
        return None
    if isinstance(payload, Rows):
        document: Any = {"columns": payload.names, "data": payload.values}
    elif isinstance(payload, Records):
        document = {"records": payload.values}
    else:
        document = {
            "values": dict(payload.values) if isinstance(payload, Columns) else payload.values
        }
    return document if features == "all" else _selected(payload, features)


def _selected(payload: Payload, names: str | tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON data
    if isinstance(payload, Rows) and payload.names:
        picked = [index for index, name in enumerate(payload.names) if name in names]
        return {
            "columns": [payload.names[index] for index in picked],
            "data": [[row[index] for index in picked] for row in payload.values],
        }
    if isinstance(payload, Records):
        return {"records": [{k: v for k, v in r.items() if k in names} for r in payload.values]}
    if isinstance(payload, Columns):
        return {"values": {k: v for k, v in payload.values.items() if k in names}}
    # Rows without names cannot be told apart; keeping them all would keep what must not be kept.
    return None
