"""Replay labelled rows: request a prediction for each, then send its label."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlops.client.connection import Connection
from mlops.client.replay_data import ReplayRows
from mlops.client.reward import compute
from mlops.errors import InvalidInputError, MlopsError, RemoteError
from mlops.rewards.own import Function

_BATCH = 200
# So many rows in a row that no model takes are a fault of the file, not of an arm.
_HOPELESS = 20


@dataclass(slots=True)
class Tally:
    """What has been sent so far.

    Attributes:
        visits: Predictions requested.
        refused: Of them, those whose model did not take the row, or raised: a failure of the arm,
            which the report counts, and no reason to stop.
        counts: Feedback by status.
        seconds: Time it took.
    """

    visits: int = 0
    refused: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Endpoint(Protocol):
    """Something that predicts and takes feedback."""

    def send_row(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: object) -> None:
        """Request a prediction of one row, and record its label."""
        ...

    def flush(self) -> Counter[str]:
        """Send the feedback that waits; return its statuses."""
        ...


class OwnEndpoint:
    """The bundled server: MLflow's protocol for predictions, bulk feedback with the truth.

    Args:
        connection: To the server.
        own_reward: The user's reward with its name, if it runs here; else the server derives it.
        warn: Called with what the server warns of, each thing once.
    """

    def __init__(
        self,
        connection: Connection,
        own_reward: tuple[Function, str] | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.connection = connection
        self._own_reward = own_reward
        self._warn = warn
        self._warned: set[str] = set()
        self._waiting: list[bytes] = []

    def send_row(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: Any) -> None:  # noqa: ANN401 - a JSON value
        """See `Endpoint.send_row`."""
        body = json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}).encode()
        answer, headers = self.connection.post("/invocations", body)
        outcome = {"request_id": headers["x-mlops-request-id"], "row": 0, "truth": truth}
        if self._own_reward is not None:
            outcome["reward"] = compute(*self._own_reward, first_prediction(answer), truth)
        self._waiting.append(json.dumps(outcome).encode())

    def flush(self) -> Counter[str]:
        """See `Endpoint.flush`."""
        if not self._waiting:
            return Counter()
        body = b"\n".join(self._waiting)
        answer, _ = self.connection.post_harmless(
            "/feedback", body, content_type="application/x-ndjson"
        )
        # Forgotten only now: an interrupted post can be repeated, and duplicates are harmless.
        self._waiting.clear()
        for text in answer.get("warnings", ()):
            if text not in self._warned:
                self._warned.add(text)
                self._warn(text)
        return Counter(answer["counts"])


def first_prediction(answer: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return the prediction of the only row in an answer of MLflow's protocol."""
    value = answer["predictions"][0]
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def play(
    endpoint: Endpoint,
    table: ReplayRows,
    rows: Iterable[int],
    *,
    rate: float | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Replay rows, one after the other.

    Args:
        endpoint: Where they are sent.
        table: Their features and labels.
        rows: Which rows, in order.
        rate: At most so many a second; None for as fast as the endpoint answers.
        on_progress: Called after each batch with the tally so far.

    Returns:
        What was sent.

    Raises:
        InvalidInputError: The endpoint refuses a row, or its models refuse all.
        RemoteError: It does not answer, or its models raise for all.
    """
    tally = Tally()
    started = time.monotonic()
    refusal: MlopsError | None = None
    try:
        for row in rows:
            _wait(started, tally.visits, rate)
            try:
                endpoint.send_row(table.columns, table.rows[row], table.truths[row])
            except (InvalidInputError, RemoteError) as error:
                if error.reason != "model":
                    raise
                refusal = error
                tally.refused += 1
            tally.visits += 1
            if refusal and tally.refused == tally.visits == _HOPELESS:
                raise refusal
            if tally.visits % _BATCH == 0:
                _flush(endpoint, tally, started, on_progress)
    finally:
        # Also after Ctrl-C: what was answered is not lost.
        _flush(endpoint, tally, started, on_progress)
    if refusal and tally.refused == tally.visits:
        raise refusal
    return tally


def _flush(
    endpoint: Endpoint, tally: Tally, started: float, on_progress: Callable[[Tally], None]
) -> None:
    tally.counts += endpoint.flush()
    tally.seconds = time.monotonic() - started
    on_progress(tally)


def _wait(started: float, visits: int, rate: float | None) -> None:
    if rate:
        time.sleep(max(0.0, started + visits / rate - time.monotonic()))
