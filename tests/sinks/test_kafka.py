"""A producer that cannot be used any more is replaced; the conformance kit has a real broker."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from mlops.errors import RemoteError
from mlops.sinks import checked_sinks, kafka
from mlops.sinks.base import SinkPlace
from mlops.spec.request_log import sink_from
from tests.sinks.test_cloudevents import event

FATAL = KafkaException(KafkaError(KafkaError._FATAL, "out of sequence", True))


class Producer:
    """Fails in one of its methods, as librdkafka after a fatal error: for good."""

    made: int
    bad: str

    def __init__(self, *_: Any, **__: Any) -> None:
        type(self).made += 1
        self.broken = self.made == 1
        self.told: list[Any] = []

    def _fail(self, method: str) -> None:
        if self.broken and self.bad == method:
            raise FATAL

    def produce(self, *_: Any, on_delivery: Any, **__: Any) -> None:
        self._fail("produce")
        self.told.append(on_delivery)

    def poll(self, _: float) -> None:
        self._fail("poll")

    def flush(self, _: float) -> int:
        self._fail("flush")
        for tell in self.told:
            # Here an error is not marked as fatal.
            fatal = self.broken and self.bad == "delivery"
            tell(KafkaError(KafkaError._FATAL) if fatal else None, None)
        self.told.clear()
        return 0

    def purge(self) -> None:
        self.told.clear()


@pytest.mark.parametrize("method", ["produce", "poll", "flush", "delivery"])
def test_after_a_fatal_error_it_goes_on(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    Producer.made, Producer.bad = 0, method
    monkeypatch.setattr(kafka, "Producer", Producer)
    (spec,) = checked_sinks([sink_from("sink", {"kind": "kafka", "to": "host:1"})])
    sink = kafka.Kafka(SinkPlace("wine", "sink", spec.to, spec.options))
    with pytest.raises(RemoteError, match="Kafka at host:1"):
        sink.send([event()])
    assert sink.send([event()]) == []
    assert Producer.made == 2
