"""Customers who write down all they were told, so that the journal can be held against it.

Each asks for predictions over a connection of its own and sends feedback about them, at once or
later, singly or many together, and half of the time sends it again if the answer was lost.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_JSON = {"content-type": "application/json"}
_NDJSON = {"content-type": "application/x-ndjson"}
_TOGETHER = 30
_PAUSE_S = 0.02
_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class FeedbackResult:
    """What came with a prediction."""

    revision: int
    arm: str
    prediction: float


@dataclass(slots=True)
class Diary:
    """What customers did and were told.

    Attributes:
        told: Every prediction that was answered, by request id.
        sent: What was sent as feedback about it: key `reward` or `truth`, and the value.
        acknowledged: Request ids whose feedback was answered 200.
        doubtful: Request ids whose feedback was sent, and the answer never came.
        latencies: When a prediction was answered and how long it took, in seconds.
        statuses: Answers to predictions by status.
        feedback: When feedback was answered, and its status.
        fates: Acknowledged feedback by what the server said became of it.
    """

    told: dict[str, FeedbackResult] = field(default_factory=dict)
    sent: dict[str, tuple[str, float]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    feedback: list[tuple[float, int]] = field(default_factory=list)
    fates: Counter[str] = field(default_factory=Counter)

    def add(self, other: Diary) -> None:
        """Take over what another has written down."""
        self.told |= other.told
        self.sent |= other.sent
        self.acknowledged |= other.acknowledged
        self.doubtful |= other.doubtful
        self.latencies += other.latencies
        self.statuses += other.statuses
        self.feedback += other.feedback
        self.fates += other.fates


class Customer(threading.Thread):
    """One customer.

    Args:
        port: Of the deployment on this machine; it must stay when the server is restarted.
        bodies: Bodies of one row for `/invocations`.
        seed: Settles what the customer does.
        stop: Ends it.
    """

    def __init__(
        self, port: int, bodies: Sequence[bytes], seed: int, stop: threading.Event
    ) -> None:
        super().__init__(name=f"customer-{seed}", daemon=True)
        self.diary = Diary()
        self._bodies = bodies
        self._random = random.Random(seed)
        self._stopping = stop
        self._owed: list[str] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)

    def run(self) -> None:
        """Come again and again."""
        while not self._stopping.is_set():
            self._predict()
            if self._owed and self._random.random() < 0.7:
                self._tell([self._owed.pop(self._random.randrange(len(self._owed)))])
            if len(self._owed) > 2 * _TOGETHER:
                self._random.shuffle(self._owed)
                batch, self._owed = self._owed[:_TOGETHER], self._owed[_TOGETHER:]
                self._tell(batch)
        self._connection.close()

    def _predict(self) -> None:
        started = time.perf_counter()
        found = self._post("/invocations", self._random.choice(self._bodies), _JSON)
        if found is None:
            return
        response, body = found
        self.diary.statuses[response.status] += 1
        now = time.perf_counter()
        self.diary.latencies.append((now, now - started))
        if response.status != http.HTTPStatus.OK:
            return
        rid = response.headers["x-mlops-request-id"]
        revision = int(response.headers["x-mlops-revision"])
        prediction = float(json.loads(body)["predictions"][0])
        self.diary.told[rid] = FeedbackResult(revision, response.headers["x-mlops-arm"], prediction)
        self._owed.append(rid)

    def _tell(self, rids: list[str]) -> None:
        """Send feedback about some requests, the same about each whenever it is sent."""
        for rid in rids:
            key = "truth" if self._random.random() < 0.25 else "reward"
            self.diary.sent.setdefault(rid, (key, round(self._random.gauss(5, 1), 9)))
        lines = [self._line(rid) for rid in rids]
        found = self._post("/feedback", b"\n".join(lines), _JSON if len(lines) == 1 else _NDJSON)
        if found is None:
            self.diary.doubtful.update(rids)
            # The other half stays in doubt.
            self._owed += [rid for rid in rids if self._random.random() < 0.5]
            return
        response, body = found
        self.diary.feedback.append((time.perf_counter(), response.status))
        if response.status != http.HTTPStatus.OK:
            self._owed += rids
            return
        counts = Counter(json.loads(body)["counts"])
        del counts["late"]  # counted besides
        if counts.total() == len(rids):
            self.diary.acknowledged.update(rids)
        self.diary.fates += counts

    def _line(self, rid: str) -> bytes:
        key, value = self.diary.sent[rid]
        return json.dumps({"request_id": rid, key: value}).encode()

    def _post(
        self, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes] | None:
        """Send; None if no answer came."""
        try:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            return response, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            time.sleep(_PAUSE_S)
            return None


class Crowd:
    """Customers at work."""

    def __init__(self, port: int, bodies: Sequence[bytes], size: int) -> None:
        self._stop = threading.Event()
        self._customers = [Customer(port, bodies, seed, self._stop) for seed in range(size)]

    def acknowledged(self) -> int:
        """How much feedback was acknowledged so far."""
        return sum(len(each.diary.acknowledged) for each in self._customers)

    def statuses(self) -> Counter[int]:
        """Answers to feedback so far, by status."""
        return Counter(status for each in self._customers for _, status in [*each.diary.feedback])

    def diary(self) -> Diary:
        """Everything they wrote down, once they have gone."""
        whole = Diary()
        for each in self._customers:
            whole.add(each.diary)
        return whole

    def so_far(self) -> Diary:
        """What they wrote down by now, while they go on: whatever is acknowledged was sent."""
        whole = Diary()
        for each in self._customers:
            diary = each.diary
            # Copied in one step each, and in this order, as they are written in the other.
            acknowledged, doubtful = set(diary.acknowledged), set(diary.doubtful)
            sent = dict(diary.sent)
            whole.add(
                Diary(
                    told=dict(diary.told), sent=sent, acknowledged=acknowledged, doubtful=doubtful
                )
            )
        return whole

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Let them come during the block, then wait until the last has gone."""
        for each in self._customers:
            each.start()
        try:
            yield
        finally:
            self._stop.set()
            for each in self._customers:
                each.join()
