"""The live page at the server's `/ui`: what it sends, to whom, and what it costs."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.serving.counting import ArmCounters, Counts
from mlops.serving.live_page.rates import Rates, quantile, sample
from mlops.spec import metrics as families
from tests.serving.models import ROWS, records
from tests.serving.server import Server

_ENOUGH_S = 60.0


class Events:
    """The stream of a server, event by event."""

    def __init__(self, port: int, path: str = "/ui/events", **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ENOUGH_S)
        self.connection.request("GET", path, headers=headers)
        self.reply = self.connection.getresponse()
        self.parts: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        name = ""
        while text := self.reply.readline().decode():
            line = text.rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    def first(self, wanted: str) -> Any:
        """Read until an event of this name comes; parts that come before are kept."""
        for name, data in self:
            if name == "part":
                self.parts[data["id"]] = data["html"]
            if name == wanted:
                return data
        raise AssertionError(f"the stream ended before `{wanted}`")

    def part(self, name: str) -> str:
        """Return the newest text of a part, which may have come before."""
        deadline = time.monotonic() + _ENOUGH_S
        while name not in self.parts:
            assert time.monotonic() < deadline, name
            self.first("now")
        return self.parts[name]

    def close(self) -> None:
        # The reply holds a reference to the socket as well.
        self.reply.close()
        self.connection.close()


@pytest.fixture
def events(server: Server) -> Iterator[Events]:
    stream = Events(server.port)
    yield stream
    stream.close()


def test_the_page_loads_nothing_but_its_own_files(server: Server) -> None:
    reply = server.get("/ui")
    html = reply.body.decode()
    assert reply.status == 200
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|https?://", html)
    links = re.findall(r'(?:href|src|action)="([^"#]*)"', html)
    assert links
    # Relative, so that the page works behind a prefix.
    assert not [link for link in links if link.startswith("/")]
    for link in links:
        if link.startswith("ui/static"):
            file = server.get("/" + link)
            assert (file.status, file.headers["x-content-type-options"]) == (200, "nosniff")
            assert "immutable" in file.headers["cache-control"]
    assert server.get("/ui/static/../pages.py").status == 404
    assert server.get("/ui/static/pages.py").status == 404
    # What is shown of an id that is none cannot clear the terminal of who asks with curl.
    unknown = server.get("/ui/requests/%1b[2J")
    assert (unknown.status, b"\x1b" in unknown.body) == (404, False)


def test_the_page_says_what_the_counters_and_the_journal_say(
    server: Server, events: Events
) -> None:
    assert events.reply.status == 200
    assert events.reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    past = events.first("history")
    assert past["every"] == 5
    events.first("now")
    asked = server.predict(records(ROWS[:1]))
    server.post("/feedback", {"request_id": asked.request_id, "truth": 6})
    rate = 0.0
    while not rate:
        now = events.first("now")
        assert now["revision"] == 1
        rate = now["arms"][asked.arm][0] or 0.0
    # Within the buckets that a request of a linear model falls into.
    assert 0 < now["arms"][asked.arm][3] < 1000
    verdict = events.part("verdict")
    assert "b minus a" in verdict
    assert "With feedback" in verdict
    assert "server started" in events.part("revisions")
    # The next viewer has it in the page itself.
    html = server.get("/ui").body.decode()
    assert "b minus a" in html


def test_a_model_that_was_asked_nothing_has_no_quantiles() -> None:
    rates = Rates()
    key = ("a", "a/1")
    counts = Counts(arms={key: ArmCounters()}, weights={1: {key: 1.0}})
    counts.single[families.REVISION] = 1
    counts.arms[key].count(200, 1, 5.0, forced=False)
    assert rates.add(sample(counts, 10.0)) == {"a": [None] * 6}
    for status in (200, 200, 400, 503):
        counts.arms[key].count(status, 1, 0.0007, forced=False)
    found = rates.add(sample(counts, 12.0))["a"]
    assert found[:2] == [2.0, 0.5]
    # All in the bucket from 0.5 to 1 ms; by interpolation, as Prometheus has it.
    assert found[2:] == [0.75, 0.975, 0.995, 0.5]
    # After a worker has ended a sum may fall: no rate is better than a negative one.
    counts.arms[key] = ArmCounters()
    assert rates.add(sample(counts, 13.0)) == {"a": [None] * 6}


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ([0] * 15, 0.5, None),
        ([4, *[0] * 14], 0.5, 0.00025),
        ([*[0] * 14, 9], 0.99, 10.0),
        ([5, 5, *[0] * 13], 0.75, 0.00075),
    ],
)
def test_quantiles_are_those_of_prometheus(
    buckets: list[int], share: float, expected: float | None
) -> None:
    assert quantile(buckets, share) == expected


def test_the_licence_of_the_charts_is_sent_with_them(server: Server) -> None:
    text = server.get("/ui/static/uPlot.LICENSE.txt").body.decode()
    assert text.startswith("The MIT License (MIT)")
    folder = Path(__file__).parents[2] / "cli/mlops/serving/live_page/static"
    assert (
        (folder / "uPlot.iife.min.js")
        .read_text()
        .startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32)")
    )
