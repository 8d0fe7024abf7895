"""Kafka: a message for each event, in the order of its unit.

The key is the unit's hash (else the id), so that events of one unit are in one partition in their
order. `acks=all` and an idempotent producer: what was acknowledged survives the loss of a broker,
and a retry of the client's makes no second message. After a crash of the sender, events come again
with the same `ce_id`. The attributes are headers (CloudEvents 1.0, Kafka binding 3.2).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer

from mlops.errors import InvalidInputError, RemoteError
from mlops.sinks.base import Event, Option, Refused, SinkKind, SinkPlace

_LOG = logging.getLogger(__name__)
_TYPES = {"request": "mlops.inference.request", "outcome": "mlops.inference.outcome"}
# Required for the guarantee; a user's `config` may not change it.
_OURS = {"bootstrap.servers", "acks", "enable.idempotence", "queue.buffering.max.messages"}


class Kafka:
    """Produces messages.

    Args:
        place: Where to.

    Raises:
        InvalidInputError: A setting of `config` is none of the client's, or a secret is missing.
    """

    def __init__(self, place: SinkPlace) -> None:
        options = place.options
        self._to = place.to
        self._timeout_s = options["timeout_s"]
        self._topic = {
            kind: place.named(options["topic"], kind=f"{kind}s") for kind in ("request", "outcome")
        }
        self._source = f"/mlops/{place.deployment}"
        config: dict[str, Any] = place.table("config")
        if taken := sorted(_OURS & config.keys()):
            raise InvalidInputError(f"[log.sinks.{place.name}]: `config` may not set {taken[0]}.")
        self._config = {
            "client.id": f"mlops-{place.deployment}",
            "linger.ms": 20,
            "compression.type": "lz4",
            # It reports every failed connection; the relevant error comes with the message.
            "log_level": 2,
            "message.timeout.ms": int(self._timeout_s * 1000),
            **config,
            "bootstrap.servers": place.to,
            "acks": "all",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 100_000,
        }
        try:
            self._producer = Producer(self._config, logger=_LOG)
        except KafkaException as error:
            raise InvalidInputError(f"[log.sinks.{place.name}]: {error.args[0].str()}.") from error

    def send(self, events: Sequence[Event]) -> list[Refused]:
        """See `Sink.send`."""
        faults: list[tuple[str, Any]] = []

        def told(name: str) -> Callable[[Any, Any], None]:
            def tell(error: object, _: object) -> None:
                if error is not None:
                    faults.append((name, error))

            return tell

        try:
            for event in events:
                try:
                    self._producer.produce(
                        self._topic[event.kind],
                        orjson.dumps(event.document()),
                        event.key.encode(),
                        headers=self._headers(event),
                        timestamp=event.time_ms,
                        on_delivery=told(event.id),
                    )
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                        raise
                    faults.append((event.id, error.args[0]))
                self._producer.poll(0)
            unanswered = self._producer.flush(self._timeout_s + 5)
        except (BufferError, KafkaException) as error:
            self._give_up(error.args[0])
            raise RemoteError(f"Kafka at {self._to}: {error}") from error
        if unanswered:
            self._give_up(None)
            raise RemoteError(f"Kafka at {self._to} does not answer.")
        refused = [
            Refused(name, error.str())
            for name, error in faults
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE
        ]
        if len(refused) < len(faults):
            other = next(e for _, e in faults if e.code() != KafkaError.MSG_SIZE_TOO_LARGE)
            self._give_up(other)
            raise RemoteError(f"Kafka at {self._to}: {other.str()}")
        return refused

    def _give_up(self, error: object) -> None:
        """Forget the messages under way, which come again."""
        fatal = isinstance(error, KafkaError) and (
            error.fatal() or error.code() == KafkaError._FATAL
        )
        with contextlib.suppress(KafkaException):
            self._producer.purge()
            self._producer.flush(1)
        if fatal:
            # The client itself reports that this producer can no longer be used.
            self._producer = Producer(self._config, logger=_LOG)

    def close(self) -> None:
        """See `Sink.close`."""
        self._producer.purge()
        self._producer.flush(1)

    def _headers(self, event: Event) -> list[tuple[str, bytes]]:
        attributes = {
            "ce_specversion": "1.0",
            "ce_id": event.id,
            "ce_type": _TYPES[event.kind],
            "ce_source": self._source,
            "ce_time": event.time,
            "content-type": "application/json",
        }
        return [(name, value.encode()) for name, value in attributes.items()]


def _fault_of(to: str) -> str:
    if "@" in to:
        return "`to` holds credentials; name them in `config`"
    ports = [each.strip().rpartition(":")[2] for each in to.split(",")]
    if not all(port.isdecimal() for port in ports):
        return f"`to` must name brokers, as `one:9092,two:9092`, not `{to}`"
    return ""


KIND = SinkKind(
    title="Kafka",
    example="one:9092,two:9092",
    make=Kafka,
    options={
        "topic": Option("mlops.{deployment}", "topic; `{kind}` in it is requests or outcomes"),
        "config": Option(
            {}, "settings of librdkafka, as `security.protocol`; secrets as `env:VARIABLE`"
        ),
        "timeout_s": Option(30.0, "seconds in which a message must be acknowledged"),
    },
    fault_of=_fault_of,
    at_once=2_000,
)
