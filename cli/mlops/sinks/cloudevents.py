"""CloudEvents over HTTP, with the types and attributes of KServe's and Seldon's request loggers.

One POST for a request and one for its answer, in binary mode (CloudEvents 1.0, HTTP binding 3.1):
the body is the payload, the attributes are headers. As with KServe's agent and Seldon's executor
both have the request id as `id`, by which their consumers join them, and differ in `type`. The
journal keeps rows and answers in one form, whatever protocol brought them; the body is written in
the protocol that `payload` names.

With `batch` above 1 many events go in one POST in batched mode (3.3), which is quicker by far, and
which neither KServe's nor Seldon's consumers read.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from mlops.errors import RemoteError
from mlops.sinks.base import Event, Option, Refused, SinkKind, SinkPlace
from mlops.sinks.http import Poster, fault_of_url, verdict

Body = dict[str, Any]

_TYPES = {
    "kserve": {
        "request": "org.kubeflow.serving.inference.request",
        "response": "org.kubeflow.serving.inference.response",
        "outcome": "org.kubeflow.serving.feedback",
    },
    "seldon": {
        "request": "io.seldon.serving.inference.request",
        "response": "io.seldon.serving.inference.response",
        "outcome": "io.seldon.serving.feedback",
    },
}
# A header's value may hold these as they are (CloudEvents, HTTP binding 3.1.3.2).
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class _Message(NamedTuple):
    """One event as it is sent."""

    of: str
    part: str
    attributes: dict[str, str]
    data: Body


class CloudEvents:
    """Posts events.

    Args:
        place: Where to.

    Raises:
        InvalidInputError: A secret is not where an option says.
    """

    def __init__(self, place: SinkPlace) -> None:
        options = place.options
        self._types = _TYPES[options["style"]]
        self._mode = options["mode"]
        payload = options["payload"]
        self._write = _PAYLOADS["seldon" if payload == "auto" and options["style"] == "seldon"
                                else "v1" if payload == "auto" else payload]  # fmt: skip
        self._batch = options["batch"]
        self._fixed = {
            "specversion": "1.0",
            "source": place.named(options["source"]),
            "inferenceservicename": place.named(options["service"]),
            "namespace": options["namespace"],
            "component": "predictor",
            "datacontenttype": "application/json",
        }
        # Of an attempt that failed: what need not be sent again.
        self._answered: set[tuple[str, str]] = set()
        self._refused: dict[str, Refused] = {}
        self._poster = Poster(
            place.to,
            place.table("headers"),
            connections=options["connections"],
            timeout_s=options["timeout_s"],
            ca=options["ca"],
        )

    def send(self, events: Sequence[Event]) -> list[Refused]:
        """See `Sink.send`."""
        every = (message for event in events for message in self._messages(event))
        messages = [each for each in every if (each.of, each.part) not in self._answered]
        if self._batch == 1:
            groups = [[message] for message in messages]
            bodies = [_binary(message) for message in messages]
        else:
            groups = [list(some) for some in _chunks(messages, self._batch)]
            bodies = [_batched(some) for some in groups]
        faults = []
        for group, answer in zip(groups, self._poster.post(bodies), strict=True):
            try:
                reason = verdict(answer, self._poster.url)
            except RemoteError as error:
                faults.append(error)
                continue
            self._answered.update((each.of, each.part) for each in group)
            if reason:
                self._refused.update({each.of: Refused(each.of, reason) for each in group})
        if faults:
            raise faults[0]
        refused = list(self._refused.values())
        self._answered, self._refused = set(), {}
        return refused

    def close(self) -> None:
        """See `Sink.close`."""
        self._poster.close()

    def _messages(self, event: Event) -> Iterator[_Message]:
        if event.kind == "outcome":
            yield self._message(event, "outcome", _outcome(event))
            return
        if self._mode != "response":
            yield self._message(event, "request", self._write.request(event))
        if self._mode != "request" and event.fields["predictions"] is not None:
            yield self._message(event, "response", self._write.response(event))

    def _message(self, event: Event, part: str, data: Body) -> _Message:
        fields = event.fields
        attributes = {
            **self._fixed,
            "id": event.id,
            "type": self._types[part],
            "time": event.time,
            "requestid": fields["request_id"] or fields["nonce"],
            "modelid": fields["model"],
            "endpoint": event.arm,
            "revision": str(fields["revision"]),
            "propensity": repr(fields["propensity"]),
        }
        if event.kind == "request":
            attributes["protocol"] = fields["protocol"]
        if fields.get("outlier") is not None:
            attributes["outlier"] = "true" if fields["outlier"] else "false"
            attributes["outlierpvalue"] = f"{min(fields['outlier_p_values']):.4g}"
        if fields["unit"]:
            attributes["unit"] = fields["unit"]
        return _Message(event.id, part, attributes, data)


class _Payload(NamedTuple):
    request: Callable[[Event], Body]
    response: Callable[[Event], Body]


def _binary(message: _Message) -> tuple[bytes, Mapping[str, str]]:
    headers = {
        f"ce-{name}": quote(value, safe=_PLAIN) for name, value in message.attributes.items()
    }
    headers["content-type"] = headers.pop("ce-datacontenttype")
    return orjson.dumps(message.data), headers


def _batched(messages: Sequence[_Message]) -> tuple[bytes, Mapping[str, str]]:
    body = [{**message.attributes, "data": message.data} for message in messages]
    return orjson.dumps(body), {"content-type": "application/cloudevents-batch+json"}


def _v1_request(event: Event) -> Body:
    return {"instances": event.named_rows()}


def _v1_response(event: Event) -> Body:
    return {"predictions": event.fields["predictions"]}


def _seldon_request(event: Event) -> Body:
    meta = {"puid": event.fields["request_id"]}
    return {"meta": meta, "data": {"names": event.names or [], "ndarray": event.rows or []}}


def _seldon_response(event: Event) -> Body:
    predictions = event.fields["predictions"]
    rows = [row if isinstance(row, list) else [row] for row in predictions]
    meta = {"puid": event.fields["request_id"], "routing": {}, "tags": {"arm": event.arm}}
    return {"meta": meta, "data": {"names": [], "ndarray": rows}}


def _v2_request(event: Event) -> Body:
    rows = event.rows or []
    if event.names is None:
        inputs = [_tensor("input-0", rows)]
    else:
        columns = zip(*rows, strict=True) if rows else [[] for _ in event.names]
        inputs = [_tensor(name, cells) for name, cells in zip(event.names, columns, strict=True)]
    return {"id": event.id, "inputs": inputs}


def _v2_response(event: Event) -> Body:
    fields = event.fields
    outputs = [_tensor("output-0", fields["predictions"])]
    return {"model_name": fields["model"], "id": event.id, "outputs": outputs}


def _tensor(name: str, cells: Sequence[Any]) -> Body:
    known = [cell for cell in _flat(cells) if cell is not None]
    kinds = {type(cell) for cell in known}
    datatype = (
        "BOOL" if kinds == {bool}
        else "INT64" if kinds == {int} and len(known) == len(list(_flat(cells)))
        else "FP64" if kinds <= {int, float}
        else "BYTES"
    )  # fmt: skip
    shape = [len(cells)]
    if cells and all(isinstance(cell, list) for cell in cells):
        shape.append(len(cells[0]))
    return {"name": name, "shape": shape, "datatype": datatype, "data": list(cells)}


def _flat(cells: Sequence[Any]) -> Iterator[Any]:
    for cell in cells:
        if isinstance(cell, list):
            yield from _flat(cell)
        else:
            yield cell


def _outcome(event: Event) -> Body:
    return {key: event.fields[key] for key in ("request_id", "row", "reward", "truth")}


def _chunks(messages: Sequence[_Message], size: int) -> Iterator[Sequence[_Message]]:
    for start in range(0, len(messages), size):
        yield list(itertools.islice(messages, start, start + size))


_PAYLOADS = {
    "v1": _Payload(_v1_request, _v1_response),
    "v2": _Payload(_v2_request, _v2_response),
    "seldon": _Payload(_seldon_request, _seldon_response),
}

KIND = SinkKind(
    title="CloudEvents over HTTP",
    example="http://broker.default/",
    make=CloudEvents,
    options={
        "style": Option("kserve", "whose event types", tuple(_TYPES)),
        "payload": Option(
            "auto",
            "protocol of the bodies; auto: `v1` for KServe, `seldon` for Seldon",
            ("auto", *_PAYLOADS),
        ),
        "mode": Option("all", "what is sent", ("all", "request", "response")),
        "batch": Option(1, "events in one POST; above 1 in batched mode"),
        "connections": Option(16, "connections that are open at once; 1 keeps the order"),
        "timeout_s": Option(10.0, "seconds that an answer may take"),
        "headers": Option({}, "sent along; credentials as `env:VARIABLE` or `file:PATH`"),
        "ca": Option("", "file with the authorities of the server's certificate"),
        "source": Option("/mlops/{deployment}", "attribute `source`"),
        "service": Option("{deployment}", "attribute `inferenceservicename`"),
        "namespace": Option("default", "attribute `namespace`"),
    },
    fault_of=fault_of_url,
)
