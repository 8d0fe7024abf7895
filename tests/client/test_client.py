"""`mlops.Client` and `mlops.AsyncClient` against a real server, and against one that fails."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import http.server
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

import mlops
from mlops.client import Client, FeedbackResult, Outcome
from mlops.client.exchange import Retries
from mlops.client.rows import body_of
from mlops.errors import (
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)
from tests.servers import unused_port
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import Server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.state.url) as opened:
        yield opened


def _expected(server: Server, arm: str) -> list[float]:
    values: list[float] = server.predict(records(ROWS), x_mlops_arm=arm).json["predictions"]
    return values


@pytest.mark.parametrize(
    "form",
    [
        lambda: records(ROWS),
        lambda: pd.DataFrame(ROWS, columns=COLUMNS),
        lambda: pd.DataFrame(ROWS, columns=COLUMNS).astype("float32"),
        lambda: [dict(zip(COLUMNS, map(np.float64, row), strict=True)) for row in ROWS],
        lambda: {"dataframe_split": {"columns": list(COLUMNS), "data": [list(r) for r in ROWS]}},
    ],
    ids=["records", "pandas", "float32", "numpy-scalars", "body"],
)
def test_rows_in_every_form(client: Client, server: Server, form: Callable[[], Any]) -> None:
    answer = client.predict(form(), arm="a")
    assert answer.values == pytest.approx(_expected(server, "a"), rel=1e-6)
    assert (answer.arm, answer.revision) == ("a", 1)
    assert answer.request_id


def test_one_row_and_what_it_was_worth(client: Client, server: Server) -> None:
    answer = client.predict(records(ROWS[:1])[0])
    assert answer.values == [answer.value]
    told = client.feedback(answer.request_id, reward=1.0)
    assert dict(told.counts)["accepted"] == 1
    assert not told.refused
    # The same again is harmless; another one is refused, and said.
    assert dict(client.feedback(answer.request_id, reward=1.0).counts) == {"duplicate": 1}
    (refused,) = client.feedback(answer.request_id, reward=2.0).refused
    assert (refused.index, refused.status) == (0, "conflict")
    (forged,) = client.feedback("A" * 40, reward=1.0).refused
    assert forged.status == "forged"


def test_an_id_of_the_application_s_own(client: Client, server: Server) -> None:
    async def asked() -> None:
        async with mlops.AsyncClient(server.state.url) as other:
            await other.predict(records(ROWS[:1]), client_id="order-async")

    asyncio.run(asked())
    # A gateway's own id does not take its place.
    client.predict(records(ROWS[:1]), client_id="order-sync", headers={"x-request-id": "nginx"})
    for own in ("order-sync", "order-async"):
        assert dict(client.feedback(client_id=own, reward=1.0).counts) == {"accepted": 1}
    assert client.feedback(client_id="nginx", reward=1.0).refused[0].status == "unknown"
    unfits: list[Any] = ["caf\xe9", "a\nb", "i" * 257, "order 7 ", 1001, 7.5]
    for unfit in unfits:
        with pytest.raises(InvalidInputError, match="client_id"):
            client.predict(records(ROWS[:1]), client_id=unfit)
    assert client.predict(records(ROWS[:1]), client_id=None).request_id


def test_a_row_of_a_frame_is_one_row(client: Client, server: Server) -> None:
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    answer = client.predict(frame.iloc[0], arm="a")
    assert [answer.value] == pytest.approx(_expected(server, "a")[:1], rel=1e-6)
    # A Series without names is an array of values, as before.
    assert body_of(pd.Series([1, 2])) == b'{"inputs":[1,2]}'
    texts = pd.DataFrame({"text": ["a", "b"]}, index=["ann", "bob"])
    assert body_of(texts["text"]) == b'{"dataframe_records":[{"ann":"a","bob":"b"}]}'
    assert body_of(texts[["text"]]) == (
        b'{"dataframe_split":{"columns":["text"],"data":[["a"],["b"]]}}'
    )


def test_the_value_of_an_answer_with_several_rows_says_where_they_are(client: Client) -> None:
    answer = client.predict(records(ROWS[:2]), arm="a")
    with pytest.raises(ValueError, match=r"^the answer has 2 rows; use `\.values`$"):
        _ = answer.value


def test_many_outcomes_go_in_batches(client: Client) -> None:
    answers = [client.predict(records(ROWS[:2])) for _ in range(3)]
    good = [
        Outcome(request_id=answer.request_id, truth=6.0, row=row)
        for answer in answers
        for row in range(2)
    ]
    outcomes = [*good, *[Outcome(request_id=f"{n:040}", reward=0.0) for n in range(1500)], good[0]]
    told = client.send(outcomes)
    assert dict(told.counts) == {"accepted": 6, "forged": 1500, "duplicate": 1}
    assert [each.index for each in told.refused] == list(range(6, 1506))


def test_malformed_outcomes_are_refused_and_the_others_are_stored(client: Client) -> None:
    answer = client.predict(records(ROWS[:1]))
    outcomes = [Outcome(request_id=f"{n:040}", reward=0.0) for n in range(1200)]
    bad: dict[int, tuple[Outcome, str]] = {
        3: (Outcome(request_id="r", truth=None), "`reward` or `truth` is needed"),
        4: (Outcome(request_id="r", truth=math.nan), "is a missing value"),
        5: (Outcome(request_id="r", truth=pd.NA), "is a missing value"),
        6: (Outcome(request_id="r", reward=math.inf), "reward must be a finite number"),
        7: (Outcome(request_id="r", reward=[1.0, -math.inf]), "reward must be a finite number"),
        8: (Outcome(request_id="", truth=6), "`request_id` is missing"),
        9: (Outcome(request_id="r", reward=cast("Any", "much")), "finite number, not 'much'"),
        10: (Outcome(request_id="r", reward=cast("Any", np.True_)), "finite number, not True"),
        1100: (Outcome(request_id="r", truth=object()), "cannot be sent"),
    }
    for at, (outcome, _) in bad.items():
        outcomes[at] = outcome
    outcomes[1150] = Outcome(request_id=answer.request_id, truth=6)
    told = client.send(iter(outcomes))
    assert dict(told.counts) == {"malformed": 9, "forged": 1190, "accepted": 1}
    assert [each.index for each in told.refused] == [n for n in range(1200) if n != 1150]
    for at, (_, why) in bad.items():
        refused = next(each for each in told.refused if each.index == at)
        assert refused.status == "malformed"
        assert why in refused.error


def test_malformed_feedback_of_asyncio_is_refused(server: Server) -> None:
    async def tell() -> FeedbackResult:
        async with mlops.AsyncClient(server.state.url) as client:
            return await client.feedback("r", truth=math.nan)

    assert dict(asyncio.run(tell()).counts) == {"malformed": 1}


@pytest.mark.parametrize(
    "several",
    [np.array, pd.Series, lambda values: pd.Series([*values, None], dtype="Float64")],
    ids=["array", "series", "missing"],
)
def test_arrays_are_one_value_per_row(client: Client, several: Callable[[Any], Any]) -> None:
    values = several([6.0, 5.0])
    ids = [client.predict(records(ROWS[: len(values)])).request_id for _ in range(2)]
    told = client.send(
        [Outcome(request_id=ids[0], truth=values), Outcome(request_id=ids[1], reward=values)]
    )
    assert dict(told.counts) == {"accepted": 4}


def test_a_refusal_of_a_list_has_the_index_of_its_outcome(client: Client) -> None:
    # The server counts each row, and takes so many in one request.
    outcomes = [Outcome(request_id=f"{n:040}", reward=[0.0] * 4000) for n in range(4)]
    told = client.send(outcomes)
    assert dict(told.counts) == {"forged": 16_000}
    assert {each.index for each in told.refused} == {0, 2}


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (Outcome(request_id="r", truth=6), "one `Outcome`"),
        ([{"request_id": "r", "truth": 6}], "Feedback 0 is of the type `dict`"),
        (pd.DataFrame({"truth": [6]}), "Feedback 0 is of the type `str`"),
        (6, "cannot be of the type `int`"),
    ],
)
def test_what_is_not_outcomes_is_said(client: Client, outcomes: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        client.send(outcomes)


def test_one_key_is_one_decision(client: Client) -> None:
    keyed = {client.predict(records(ROWS[:1]), idempotency_key="k1").arm for _ in range(12)}
    assert len(keyed) == 1
    assert len({client.predict(records(ROWS[:1])).arm for _ in range(40)}) == 2


def test_what_is_refused_is_an_error_of_its_kind(client: Client, server: Server) -> None:
    with pytest.raises(InvalidInputError, match="400"):
        client.predict([{"no such column": 1}])
    with Client(f"{server.state.url}/elsewhere") as lost, pytest.raises(NotFoundError):
        lost.predict(records(ROWS[:1]))
    with pytest.raises(InvalidInputError, match="credentials"):
        Client("http://user:secret@127.0.0.1:1")
    with pytest.raises(InvalidInputError, match="has no `http://`"):
        Client("127.0.0.1:8080")
    for rows in ([], "text", 3, [object()]):
        with pytest.raises(InvalidInputError):
            client.predict(rows)


def test_several_threads_use_one_client(client: Client, server: Server) -> None:
    expected = {arm: _expected(server, arm) for arm in "ab"}

    def ask(number: int) -> bool:
        row = number % len(ROWS)
        answer = client.predict(records(ROWS[row : row + 1]))
        return bool(answer.value == pytest.approx(expected[answer.arm][row]))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(80)))


def test_asyncio(server: Server) -> None:
    async def main() -> tuple[list[Any], Any]:
        async with mlops.AsyncClient(server.state.url) as client:
            assert await client.is_ready()
            answers = await asyncio.gather(*(client.predict(records(ROWS[:1])) for _ in range(20)))
            told = await client.send(Outcome(request_id=a.request_id, reward=0.5) for a in answers)
            with pytest.raises(InvalidInputError):
                await client.predict([{"x": 1}])
            return answers, told

    answers, told = asyncio.run(main())
    assert len({answer.request_id for answer in answers}) == 20
    assert dict(told.counts) == {"accepted": 20}


class _Troubled:
    """A server that answers what it is told to, and remembers what it was sent."""

    def __init__(self, *answers: tuple[int, dict[str, str], Any]) -> None:
        self.left = list(answers)
        self.keys: list[str | None] = []
        self.times: list[float] = []


@contextmanager
def _serving(trouble: _Troubled) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            trouble.keys.append(self.headers["idempotency-key"])
            trouble.times.append(time.monotonic())
            status, headers, document = trouble.left.pop(0)
            if not status:
                self.connection.close()
                self.close_connection = True
                return
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


_GOOD = (200, {"x-mlops-request-id": "r", "x-mlops-arm": "a"}, {"predictions": [1]})


def test_it_tries_again_with_the_same_key() -> None:
    busy = (503, {"retry-after": "0"}, {"error": "busy"})
    trouble = _Troubled(busy, (0, {}, b""), (502, {}, b"<html>"), _GOOD)
    with _serving(trouble) as url, Client(url) as client:
        assert client.predict({"x": 1}).values == [1]
    assert len(trouble.keys) == 4
    assert len(set(trouble.keys)) == 1
    assert trouble.keys[0]


def test_it_waits_as_long_as_it_is_asked_to() -> None:
    trouble = _Troubled((429, {"retry-after": "1"}, {"error": "slow down"}), _GOOD)
    with _serving(trouble) as url, Client(url) as client:
        client.predict({"x": 1})
    first, second = trouble.times
    assert second - first >= 1.0


def test_it_gives_up_and_says_what_was_said() -> None:
    trouble = _Troubled(*[(503, {}, {"error": "the journal is full"})] * 2)
    full = pytest.raises(RemoteError, match="503 the journal is full")
    with _serving(trouble) as url, Client(url, retries=1) as client, full:
        client.feedback("r", reward=1)
    assert not trouble.left


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ((500, {}, {"error": "it broke"}), RemoteError, "500 it broke"),
        ((401, {}, {"error": "no token"}), NotAllowedError, "401 no token"),
        ((200, {}, b"<html>log in</html>"), RemoteError, "not JSON"),
        ((200, {}, {"answer": 1}), RemoteError, "no predictions"),
        ((302, {"location": "http://x/login?state=s"}, b""), RemoteError, "`http://x/login`"),
    ],
)
def test_what_is_not_tried_again(answer: Any, kind: type[MlopsError], text: str) -> None:
    trouble = _Troubled(answer)
    with _serving(trouble) as url, Client(url) as client, pytest.raises(kind, match=text):
        client.predict({"x": 1})
    assert not trouble.left


def test_no_answer() -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    with Client(url, retries=1) as client:
        assert not client.is_ready()
        with pytest.raises(RemoteError, match="does not answer") as caught:
            client.predict({"x": 1})
    assert caught.value.reason == "unanswered"


def test_pauses_double_and_have_an_end() -> None:
    longest = [Retries(draw=lambda: 1.0).pause_s(attempt, 0.0) for attempt in range(8)]
    assert longest == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert Retries(draw=lambda: 0.0).pause_s(3, 7.0) == 7.0


def test_a_date_to_wait_for() -> None:
    from mlops.client.exchange import Response, _asked_s

    soon = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20))
    assert 15 < _asked_s(Response(503, {"retry-after": soon}, b"")) <= 20
    assert _asked_s(Response(503, {"retry-after": "soon"}, b"")) == 0.0
    assert _asked_s(Response(503, {"retry-after": "86400"}, b"")) == 60.0


def test_values_as_they_are_sent() -> None:
    frame = pd.DataFrame(
        {
            "day": pd.to_datetime(["2026-01-02", None]),
            "text": pd.array(["a", None], dtype="string"),
            "number": [1.5, float("nan")],
            "whole": pd.array([1, None], dtype="Int64"),
            "bytes": [b"ab", b""],
        }
    )
    assert json.loads(body_of(frame))["dataframe_split"]["data"] == [
        ["2026-01-02T00:00:00", "a", 1.5, 1, "YWI="],
        [None, None, None, None, ""],
    ]
    assert json.loads(body_of(np.arange(4.0).reshape(2, 2))) == {"inputs": [[0, 1], [2, 3]]}
    assert json.loads(body_of(["a", "b"])) == {"instances": ["a", "b"]}


def test_times_of_numpy_are_sent_as_iso_8601() -> None:
    times = np.array(["2026-01-02T03:04:05.123456789", "NaT"], dtype="datetime64[ns]")
    texts = ["2026-01-02T03:04:05.123456789", None]
    assert json.loads(body_of(times)) == {"inputs": texts}
    assert json.loads(body_of(times.reshape(2, 1))) == {"inputs": [[text] for text in texts]}
    assert json.loads(body_of(times[:1].astype("datetime64[D]"))) == {"inputs": ["2026-01-02"]}
    zoned = pd.Series(pd.to_datetime(["2026-01-02"]).tz_localize("UTC"))
    assert json.loads(body_of(zoned)) == {"inputs": ["2026-01-02T00:00:00+00:00"]}
    # Alone in a row, and beside others.
    records = json.loads(body_of([{"at": time, "n": np.float64(1.5)} for time in times]))
    assert records["dataframe_records"] == [{"at": text, "n": 1.5} for text in texts]
    assert json.loads(body_of(np.array(times[0]))) == {"inputs": texts[0]}
    assert json.loads(body_of({"inputs": {"at": times}})) == {"inputs": {"at": texts}}


@pytest.mark.parametrize("unit", ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", ""])
def test_a_missing_time_of_any_unit_is_null(unit: str) -> None:
    missing = np.array("NaT", dtype=f"datetime64[{unit}]" if unit else "datetime64")[()]
    sent = json.loads(body_of([{"at": missing, "text": "1970-01-01T00:00:00"}]))
    assert sent == {"dataframe_records": [{"at": None, "text": "1970-01-01T00:00:00"}]}


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("beside", [None, np.datetime64("NaT", "ns"), "1970-01-01T00:00:00"])
def test_digits_of_short_numbers_do_not_depend_on_other_cells(kind: Any, beside: object) -> None:
    digits = b"0.1" if kind is np.float32 else b"0.099975586"
    assert b'"n":%b,' % digits in body_of([{"n": kind(0.1), "other": beside}])
    assert b"[%b,null]" % digits in body_of([{"n": np.array([0.1, np.nan], kind), "x": beside}])
    assert body_of(np.full((1, 2), 0.1, kind)) == b'{"inputs":[[%b,%b]]}' % (digits, digits)
    assert body_of(np.full((2, 1, 3), 0.1, kind)[:, :, ::3]).count(digits) == 2
    assert body_of(np.zeros((2, 0), kind)) == b'{"inputs":[[],[]]}'


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ([{"pH": 3.5}, {"pH": 3.5, "when": [0, object()]}], "dataframe_records[1].when[1]"),
        ([[1.0], [2**70]], "instances[1][0]"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", 1j]}), "dataframe_split.data[1][1]"),
        ({"pH": {(1, 2): 3}}, "dataframe_records[0].pH"),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(rows: object, place: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        body_of(rows)
    assert caught.value.message.startswith("These values cannot be sent: ")
    assert caught.value.message.endswith(f" at `{place}`.")
