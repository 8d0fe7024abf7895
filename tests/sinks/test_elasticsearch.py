"""Only what failed is sent again, and what never will be taken is told."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from mlops.errors import RemoteError
from mlops.sinks.base import SinkPlace, checked
from mlops.sinks.elasticsearch import KIND, Elasticsearch, _reason
from mlops.spec.request_log import sink_from
from tests.sinks.receivers import Bulk, Receiver, Reply
from tests.sinks.test_cloudevents import event, outcome

Served = tuple[Bulk, str]


@pytest.fixture
def served() -> Iterator[Served]:
    bulk = Bulk()
    server = Receiver(bulk)
    yield bulk, server.url
    server.stop()


def opened(url: str, **options: Any) -> Elasticsearch:
    table = {"kind": "elasticsearch", "to": url, **options}
    sink = checked(sink_from("search", table), KIND)
    return Elasticsearch(SinkPlace("wine", "search", sink.to, sink.options), lambda _: None)


def test_one_index_each_and_documents_with_a_time(served: Served) -> None:
    bulk, url = served
    sink = opened(url)
    assert sink.send([event(), outcome()]) == []
    sink.close()
    assert set(bulk.documents) == {
        ("mlops-wine-requests", "rid"), ("mlops-wine-outcomes", "00/0/0"),
    }  # fmt: skip
    document = bulk.documents["mlops-wine-requests", "rid"]
    assert document["@timestamp"] == "2023-11-14T22:13:20.123Z"
    assert document["features"] == [
        {"alcohol": 9.4, "colour": "rosé"}, {"alcohol": 11.0, "colour": "red"},
    ]  # fmt: skip


def test_only_the_busy_ones_come_again(served: Served) -> None:
    bulk, url = served
    bulk.busy, bulk.unfit = {"b"}, {"c"}
    sink = opened(url)
    refused = sink.send([event(name) for name in "abcd"])
    sink.close()
    assert [(each.id, each.reason[:4]) for each in refused] == [("c", "400:")]
    assert {name for _, name in bulk.documents} == {"a", "b", "d"}
    assert bulk.posts == 2


def test_a_cluster_that_stays_busy_is_left_alone_for_a_while(served: Served) -> None:
    bulk, url = served

    class Busy(set[str]):
        def discard(self, _: object, /) -> None:
            pass

    bulk.busy = Busy({"b"})
    sink = opened(url)
    with pytest.raises(RemoteError, match="1 events, 429"):
        sink.send([event("a"), event("b")])
    sink.close()
    assert bulk.posts == 4


def test_what_is_too_large_together_goes_alone() -> None:
    bulk = Bulk()

    def picky(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        return bulk(headers, body) if body.count(b"\n") <= 4 else (413, b"")

    server = Receiver(picky)
    sink = opened(server.url)
    assert sink.send([event(str(n)) for n in range(7)]) == []
    sink.close()
    server.stop()
    assert {name for _, name in bulk.documents} == {str(n) for n in range(7)}


def test_a_refusal_is_told_though_the_rest_was_too_large_later() -> None:
    bulk = Bulk()
    bulk.busy, bulk.unfit = {"b", "c"}, {"a"}
    # The first post refuses `a` and is too busy for the others, which are too large by then.
    replies: Iterator[Reply] = iter([bulk, lambda *_: (413, b""), bulk, bulk])

    def reply(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        return next(replies)(headers, body)

    server = Receiver(reply)
    sink = opened(server.url)
    assert [each.id for each in sink.send([event(name) for name in "abc"])] == ["a"]
    sink.close()
    server.stop()
    assert {name for _, name in bulk.documents} == {"b", "c"}


def test_a_reason_does_not_repeat_the_value() -> None:
    item = {"error": {
        "type": "document_parsing_exception",
        "reason": "[1:7] failed to parse field [features.age] of type [long] in document with id "
        "'r'. Preview of field's value: 'Ann Smith'",
        "caused_by": {"reason": 'For input string: "Ann Smith"'},
    }}  # fmt: skip
    assert _reason(item) == "document_parsing_exception in the field features.age"
    assert "Smith" not in _reason({"error": "cannot parse Ann Smith"})


def test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ES_PASSWORD", "pass")
    seen: list[str] = []
    bulk = Bulk()

    def reply(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        seen.append(headers["authorization"])
        return bulk(headers, body)

    server = Receiver(reply)
    for options in ({"user": "ann", "password": "env:ES_PASSWORD"}, {"api_key": "env:ES_PASSWORD"}):
        sink = opened(server.url, **options)
        sink.send([event()])
        sink.close()
    server.stop()
    assert seen == ["Basic " + base64.b64encode(b"ann:pass").decode(), "ApiKey pass"]
