"""Elasticsearch and OpenSearch, by `_bulk`, which both have.

Each event is created once under its own id, so that one that comes again changes nothing (409). An
answer of 200 may still say of some events that they failed: those that the cluster was too busy for
are sent again alone.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson

from mlops.errors import RemoteError
from mlops.sinks.base import Event, Option, Refused, SinkKind, SinkPlace
from mlops.sinks.http import Poster, fault_of_url, verdict

_MAX_BYTES = 8 * 1024 * 1024
_TRIES, _FIRST_PAUSE_S = 4, 0.2
_TOO_LARGE = 413
_EXISTS = 409
#: Documents that are changed at once.
_PAGE = 200
_LATER = frozenset({429, 502, 503, 504})
_REFUSED = 400
_FIELD = re.compile(r"field \[([^\]]+)\]")


class Elasticsearch:
    """Creates a document for each event.

    Args:
        place: Where to.
        sleep: Waits so many seconds.

    Raises:
        InvalidInputError: A secret is not where an option says.
    """

    def __init__(self, place: SinkPlace, sleep: Callable[[float], None] = time.sleep) -> None:
        options = place.options
        headers = place.table("headers")
        if key := place.secret("api_key"):
            headers["Authorization"] = f"ApiKey {key}"
        elif password := place.secret("password"):
            headers["Authorization"] = _basic(options["user"], password)
        self._sleep = sleep
        self._index = {
            kind: place.named(options["index"], kind=f"{kind}s") for kind in ("request", "outcome")
        }
        self._url, self._headers, self._ca = place.to.rstrip("/"), headers, options["ca"]
        self._poster = Poster(
            f"{self._url}/_bulk",
            headers,
            connections=1,
            timeout_s=options["timeout_s"],
            ca=options["ca"],
        )

    def send(self, events: Sequence[Event]) -> list[Refused]:
        """See `Sink.send`."""
        refused = []
        some: list[tuple[Event, bytes]] = []
        size = 0
        for event in events:
            lines = self._lines(event)
            if some and size + len(lines) > _MAX_BYTES:
                refused += self._create(some)
                some, size = [], 0
            some.append((event, lines))
            size += len(lines)
        return refused + self._create(some)

    def forget(self, units: Collection[str]) -> int:
        """Write the documents of some units again, without their features.

        Without `_update_by_query`, since a cluster need not have scripts.
        """
        where = f"{self._url}/{self._index['request']}/_search?ignore_unavailable=true"
        known = {"exists": {"field": "features"}}
        theirs = {"bool": {"should": [{"match": {"unit": unit}} for unit in units]}}
        body = orjson.dumps(
            {
                "query": {"bool": {"must": [theirs], "filter": [known]}},
                "size": _PAGE,
                "seq_no_primary_term": True,
            }
        )
        searcher = Poster(where, self._headers, connections=1, timeout_s=60.0, ca=self._ca)
        count = 0
        try:
            while True:
                self._refresh()
                (answer,) = searcher.post([(body, {"content-type": "application/json"})])
                if reason := verdict(answer, where):
                    raise RemoteError(f"{where} answered {reason}")
                hits = orjson.loads(answer.body)["hits"]["hits"]
                hits = [hit for hit in hits if hit["_source"].get("unit") in units]
                if not hits:
                    return count
                self._strip(hits)
                count += len(hits)
        finally:
            searcher.close()

    def _refresh(self) -> None:
        """Let searches see what was written."""
        where = f"{self._url}/{self._index['request']}/_refresh?ignore_unavailable=true"
        poster = Poster(where, self._headers, connections=1, timeout_s=60.0, ca=self._ca)
        try:
            (answer,) = poster.post([(b"", {})])
            verdict(answer, where)
        finally:
            poster.close()

    def _strip(self, hits: Sequence[dict[str, Any]]) -> None:
        """Replace documents by such without features, unless they were changed meanwhile."""
        lines = []
        for hit in hits:
            action = {
                "_index": hit["_index"], "_id": hit["_id"],
                "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"],
            }  # fmt: skip
            source = {key: value for key, value in hit["_source"].items() if key != "features"}
            lines += [orjson.dumps({"index": action}), orjson.dumps(source)]
        body = b"\n".join(lines) + b"\n"
        (answer,) = self._poster.post([(body, {"content-type": "application/x-ndjson"})])
        if reason := verdict(answer, self._poster.url):
            raise RemoteError(f"{self._poster.url} answered {reason}")
        for item in orjson.loads(answer.body)["items"]:
            if item["index"]["status"] not in (200, 201, _EXISTS):
                raise RemoteError(f"{self._poster.url}: {_reason(item['index'])}")

    def close(self) -> None:
        """See `Sink.close`."""
        self._poster.close()

    def _lines(self, event: Event) -> bytes:
        action = {"create": {"_index": self._index[event.kind], "_id": event.id}}
        document = {"@timestamp": event.time, **event.document()}
        return orjson.dumps(action) + b"\n" + orjson.dumps(document) + b"\n"

    def _create(self, waiting: list[tuple[Event, bytes]]) -> list[Refused]:
        """Create documents; what the cluster is too busy for comes again, after a pause."""
        refused: list[Refused] = []
        fault = ""
        for attempt in range(_TRIES):
            if attempt:
                self._sleep(_FIRST_PAUSE_S * 2**attempt)
            again = []
            items, too_large = self._post(waiting)
            if too_large:
                if len(waiting) == 1:
                    return [*refused, Refused(waiting[0][0].id, "413: it is too large")]
                half = len(waiting) // 2
                return [*refused, *self._create(waiting[:half]), *self._create(waiting[half:])]
            for (event, lines), item in zip(waiting, items, strict=True):
                status = item["status"]
                if status < 300 or status == _EXISTS:
                    continue
                fault = f"{status}: {_reason(item)}"
                if status == _REFUSED:
                    refused.append(Refused(event.id, fault))
                elif status in _LATER:
                    again.append((event, lines))
                else:
                    raise RemoteError(f"{self._poster.url}: {fault}")
            waiting = again
            if not waiting:
                return refused
        raise RemoteError(f"{self._poster.url}: {len(waiting)} events, {fault}")

    def _post(self, some: Sequence[tuple[Event, bytes]]) -> tuple[list[dict[str, Any]], bool]:
        """Return the status of each event, and whether they were too large to be read."""
        body = b"".join(lines for _, lines in some)
        (answer,) = self._poster.post([(body, {"content-type": "application/x-ndjson"})])
        if answer.status == _TOO_LARGE:
            return [], True
        if reason := verdict(answer, self._poster.url):
            # The request as a whole, so no single event is at fault.
            raise RemoteError(f"{self._poster.url} answered {reason}")
        try:
            items = [item["create"] for item in orjson.loads(answer.body)["items"]]
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteError(f"{self._poster.url} does not answer as `_bulk` does.") from error
        if len(items) != len(some):
            raise RemoteError(f"{self._poster.url} answered about {len(items)} of {len(some)}.")
        return items, False


def _reason(item: dict[str, Any]) -> str:
    """Return type and field; the whole reason repeats the value, which may be personal data."""
    error = item.get("error")
    if not isinstance(error, dict):
        return "no reason given"
    field = _FIELD.search(str(error.get("reason", "")))
    return f"{error.get('type', '')}{f' in the field {field[1]}' if field else ''}"[:200]


def _basic(user: str, password: str) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


KIND = SinkKind(
    title="Elasticsearch or OpenSearch",
    example="https://search:9200",
    make=Elasticsearch,
    options={
        "index": Option(
            "mlops-{deployment}-{kind}", "index, or data stream; `{kind}` is requests or outcomes"
        ),
        "user": Option("", "for `password`"),
        "password": Option("", "where the password is", secret=True),
        "api_key": Option("", "where the encoded API key is", secret=True),
        "headers": Option({}, "sent along; credentials as `env:VARIABLE` or `file:PATH`"),
        "timeout_s": Option(30.0, "seconds that an answer may take"),
        "ca": Option("", "file with the authorities of the server's certificate"),
    },
    fault_of=fault_of_url,
)
