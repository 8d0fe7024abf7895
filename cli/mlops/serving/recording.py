"""What is recorded of a request after its answer: a decision, counts, a copy for the shadows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.journal.features import Hiding, features_of
from mlops.journal.records import Decision
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import (
    InferenceRequest,
    InferenceResponse,
    Prediction,
    ProtocolError,
)
from mlops.protocols.http_status import http_status
from mlops.protocols.predictions import rows_of
from mlops.serving.assignment import Assignment
from mlops.serving.journal_limits import JournalLimits
from mlops.serving.metrics import Metrics
from mlops.serving.request_context import RequestContext
from mlops.serving.revision import LiveRevision
from mlops.serving.shadows import Shadows


@dataclass(slots=True)
class Kept:
    """What the journal keeps of one request's rows, and of its answer."""

    features: bytes | None
    predictions: list[Any] | None


class Recorder:
    """Passes every answered request to the journal, the metrics and the shadows.

    Args:
        writer: Takes the decisions.
        metrics: Takes the counts.
        shadows: Get copies of what was answered.
        features: `all`, `none` or the names of the features to keep with each decision.
        hiding: Features that are kept hashed, or not at all.
        folder: On the journal's disk, which requests may not fill; None for another machine's.
        most_bytes: Size of the journal from which features are not kept; 0 for any size.
    """

    def __init__(
        self,
        writer: JournalWriter,
        metrics: Metrics,
        shadows: Shadows,
        features: str | tuple[str, ...],
        folder: Path | None = None,
        hiding: Hiding | None = None,
        most_bytes: int = 0,
    ) -> None:
        self.metrics = metrics
        self._writer = writer
        self._shadows = shadows
        self._features = features
        self._hiding = hiding or Hiding()
        self.limits = JournalLimits(folder, lambda: writer.count_shed("features", 1), most_bytes)
        writer.has_space = self.limits.has_space

    def keep(
        self,
        request: InferenceRequest,
        prediction: Prediction | None,
        live: LiveRevision,
    ) -> Kept:
        """Copy what is to be kept; takes as long as reading the rows."""
        features = features_of(request.payload, self._features, live.signature.names, self._hiding)
        if features is not None and not self.limits.admits_features(len(features)):
            features = None
        return Kept(features, None if prediction is None else rows_of(prediction, request.n_rows))

    def record(
        self,
        live: LiveRevision,
        request: InferenceRequest,
        context: RequestContext,
        assigned: Assignment,
        result: InferenceResponse | ProtocolError,
        kept: Kept,
        time_ms: int,
    ) -> None:
        """Record one answered request. Called on the event loop."""
        elapsed_ns = time.perf_counter_ns() - context.started_ns
        status = http_status(result.kind) if isinstance(result, ProtocolError) else 200
        revision, arm = live.served.revision.number, assigned.arm.arm
        n_rows = request.n_rows
        # A tester's request is in no statistic, nor in those of shadows.
        drawn = assigned.propensity > 0
        self.metrics.arm(arm.name, arm.model.label).count(
            status, n_rows, elapsed_ns / 1e9, forced=not drawn
        )
        self.metrics.draws[revision, assigned.epoch] += drawn
        self._writer.add_decision(
            Decision(
                nonce=assigned.nonce,
                time_ms=time_ms,
                revision=revision,
                arm=assigned.arm.index,
                propensity=assigned.propensity,
                n_rows=n_rows,
                latency_us=elapsed_ns // 1000,
                status=status,
                protocol=context.protocol,
                client_id=request.client_id,
                unit=assigned.unit,
                features=kept.features,
                predictions=kept.predictions,
                epoch=assigned.epoch,
                key_id=context.key_id,
            ),
            context.size,
        )
        if live.shadows and drawn:
            self._shadows.offer(live, request, assigned.nonce, assigned.unit, context.size)

    def close(self) -> None:
        """Close the shadows' queues."""
        self._shadows.close()
