"""What KServe's and Seldon's consumers read, checked with the reference SDK and our own codecs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mlops.consumers.request_log import tag_of
from mlops.errors import RemoteError
from mlops.protocols import CODECS
from mlops.sinks import Event, Sink, checked_sinks, open_sink
from mlops.spec.request_log import sink_from
from tests.sinks.receivers import Events, Receiver, receiver


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Events, str]]:
    events = Events()
    receiver = Receiver(events)
    yield events, receiver.url
    receiver.stop()


@pytest.fixture
def seen(server: tuple[Events, str]) -> Events:
    events, _ = server
    events.seen.clear()
    events.status = 200
    return events


def event(name: str = "rid", **changes: Any) -> Event:
    fields = {
        "request_id": name, "nonce": "00", "revision": 3, "model": "wine/1", "propensity": 0.25,
        "unit": "ff", "protocol": "mlflow", "predictions": [5.5, 6.0], "n_rows": 2,
    }  # fmt: skip
    rows = [[9.4, "rosé"], [11.0, "red"]]
    given: dict[str, Any] = {"names": ["alcohol", "colour"], "rows": rows, **changes}
    return Event("request", name, 1, 1_700_000_000_123, "ff", "a b", fields=fields, **given)


def outcome() -> Event:
    fields = {
        "request_id": "rid", "nonce": "00", "revision": 3, "model": "wine/1", "propensity": 0.25,
        "unit": None, "reward": None, "truth": 5, "row": 0, "ordinal": 0,
    }  # fmt: skip
    return Event("outcome", "00/0/0", 1, 1_700_000_000_123, "ff", "a b", None, None, fields)


def opened(url: str, **options: Any) -> Sink:
    table = {"kind": "cloudevents", "to": url, **options}
    (spec,) = checked_sinks([sink_from("sink", table)])
    return open_sink(spec, "wine")


def send(url: str, events: Sequence[Event], **options: Any) -> int:
    sink = opened(url, **options)
    try:
        return len(sink.send(events))
    finally:
        sink.close()


@pytest.mark.parametrize(
    ("style", "prefix"),
    [("kserve", "org.kubeflow.serving."), ("seldon", "io.seldon.serving.")],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_types_and_attributes(
    seen: Events, server: tuple[Events, str], style: str, prefix: str, batch: int
) -> None:
    assert send(server[1], [event(), outcome()], style=style, batch=batch, connections=1) == 0
    types = [f"{prefix}{end}" for end in ("inference.request", "inference.response", "feedback")]
    assert [each["type"] for each in seen.seen] == types
    request, response, feedback = seen.seen
    # Consumers join a request and its answer by their id.
    assert request["id"] == response["id"] == "rid"
    assert (feedback["id"], feedback["data"]["truth"]) == ("00/0/0", 5)
    for each in seen.seen:
        assert each["requestid"] == "rid"
        assert each["inferenceservicename"] == "wine"
        assert (each["namespace"], each["component"]) == ("default", "predictor")
        assert (each["modelid"], each["revision"], each["propensity"]) == ("wine/1", "3", "0.25")
        assert each["time"] == "2023-11-14T22:13:20.123Z"
        assert each["source"] == "/mlops/wine"
        assert each["specversion"] == "1.0"
        # A space is no character of a header's value in this binding.
        assert each["endpoint"] == ("a b" if batch > 1 else "a%20b")


@pytest.mark.parametrize(
    ("p_values", "said"),
    [([0.5, 0.002], ("true", "0.002")), ([0.5, 0.25], ("false", "0.25")), (None, (None, None))],
)
def test_outliers_are_tagged(
    seen: Events,
    server: tuple[Events, str],
    p_values: list[float] | None,
    said: tuple[str | None, str | None],
) -> None:
    tagged = event()
    tagged.fields.update(tag_of(p_values))
    send(server[1], [tagged], connections=1)
    for each in seen.seen:
        assert (each.get("outlier"), each.get("outlierpvalue")) == said


@pytest.mark.parametrize(
    ("payload", "codec"), [("v1", "kserve-v1"), ("v2", "open-inference"), ("seldon", "seldon-v1")]
)
def test_bodies_are_requests_of_their_protocol(
    seen: Events, server: tuple[Events, str], payload: str, codec: str
) -> None:
    send(server[1], [event()], payload=payload, connections=1)
    body = json.dumps(seen.seen[0]["data"]).encode()
    read = CODECS.load(codec).decode(body, {"content-type": "application/json"})
    assert read.payload.n_rows == 2
    answer = json.dumps(seen.seen[1]["data"])
    assert "5.5" in answer
    assert "6.0" in answer


def test_rows_without_names_or_features(seen: Events, server: tuple[Events, str]) -> None:
    bare = event("bare", names=None, rows=[[1.0], [2.0]])
    none = event("none", names=None, rows=None)
    send(server[1], [bare, none], mode="request", connections=1)
    assert [each["data"]["instances"] for each in seen.seen] == [[[1.0], [2.0]], []]
    assert len(seen.seen) == 2
    seen.seen.clear()
    for payload in ("v2", "seldon"):
        send(server[1], [bare, none], mode="request", payload=payload)
    assert len(seen.seen) == 4


@pytest.mark.parametrize(("status", "refused"), [(400, 1), (413, 1), (422, 1), (409, 1)])
def test_what_is_refused_for_good_does_not_hold_up_the_rest(
    seen: Events, server: tuple[Events, str], status: int, refused: int
) -> None:
    seen.status = status
    assert send(server[1], [event()]) == refused


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 301, 302, 303, 307])
def test_what_may_be_taken_later_comes_again(
    seen: Events, server: tuple[Events, str], status: int
) -> None:
    seen.status = status
    with pytest.raises(RemoteError, match=str(status)):
        send(server[1], [event()])


def test_what_was_answered_is_not_sent_again() -> None:
    """One event that its server fails at does not repeat the others of its piece."""
    events = Events()
    bad = {"response of c": 500, "request of b": 400}
    posts: list[str] = []

    def picky(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        name = f"{headers['ce-type'].rpartition('.')[2]} of {headers['ce-id']}"
        posts.append(name)
        return (bad[name], b"") if name in bad else events(headers, body)

    with receiver(picky) as server:
        sink = opened(server.url)
        for _ in range(2):
            with pytest.raises(RemoteError, match="500"):
                sink.send([event(name) for name in "abc"])
        del bad["response of c"]
        assert [each.id for each in sink.send([event(name) for name in "abcd"])] == ["b"]
        # What was delivered once is known only until the piece is.
        sink.send([event("a")])
        sink.close()
    assert Counter(posts) == {
        **{f"{part} of {name}": 1 for part in ("request", "response") for name in "bcd"},
        "request of a": 2, "response of a": 2, "response of c": 3,
    }  # fmt: skip


def test_no_listener(server: tuple[Events, str]) -> None:
    with pytest.raises(RemoteError, match="does not answer"):
        send("http://127.0.0.1:9", [event()])


def test_headers_come_from_where_they_are(
    seen: Events, server: tuple[Events, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINK_TOKEN", "Bearer abc")
    sink = opened(server[1], headers={"Authorization": "env:SINK_TOKEN"})
    sink.send([event()])
    sink.close()
    assert len(seen.seen) == 2
