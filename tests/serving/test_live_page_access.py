"""Who may see the live page: a cookie that reads it, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.buckets import shared_places
from mlops.serving.access.gate import Gate
from mlops.serving.access.keyring import Keyring
from mlops.serving.live_page.broadcast import MOST_VIEWERS, Broadcast
from mlops.serving.live_page.session import LASTS_S, Sessions
from mlops.spec.access import Access, Key, new_key, write_keys
from tests.serving.models import ROWS, records
from tests.serving.server import KEY, Reply, Server, make_launch, running, served

TOKEN = "a-token-of-enough-length"
HTML = {"accept": "text/html,*/*"}


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[Key, str]]:
    return {name: new_key(name, [name]) for name in ("read", "predict")}


@pytest.fixture(scope="module")
def secured(
    models: dict[str, Path],
    keys: dict[str, tuple[Key, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secured")
    file = folder / "keys.json"
    file.write_text(write_keys(key for key, _ in keys.values()))
    launch = make_launch(folder, served(models), token=TOKEN)
    with running(replace(launch, access=Access(keys_file=str(file))), folder) as server:
        yield server


def sign_in(server: Server, key: str, **headers: str) -> Reply:
    body = urlencode({"key": key, "next": headers.pop("next", "")}).encode()
    form = {"content-type": "application/x-www-form-urlencoded", **HTML, **headers}
    return server.call("POST", "/ui/sign-in", body, form)


def test_who_is_not_signed_in_gets_a_form(secured: Server) -> None:
    for path in ("/ui", "/ui/requests", "/ui/requests/abc"):
        reply = secured.call("GET", path, headers=HTML)
        assert reply.status == 401
        assert b'type="password"' in reply.body
        # No dialog of the browser's, and nothing of what the page says.
        assert reply.headers["www-authenticate"] == "Bearer"
        assert b"data-arm" not in reply.body
    assert secured.get("/ui/events").status == 401
    assert secured.get("/ui/requests/abc/explanation").status == 401
    # What the form itself needs.
    assert secured.get("/ui/static/page.css").status == 200


def test_a_key_that_may_not_read_is_refused(
    secured: Server, keys: dict[str, tuple[Key, str]]
) -> None:
    for key, status in (("wrong", 401), ("", 401), (keys["predict"][1], 403)):
        reply = sign_in(secured, key)
        assert reply.status == status
        assert b'role="alert"' in reply.body
        assert "set-cookie" not in reply.headers
    assert sign_in(secured, "x" * 20_000).status == 401
    assert sign_in(secured, TOKEN, origin="http://evil.example").status == 403


@pytest.mark.parametrize("who", ["token", "read"])
def test_the_cookie_reads_the_page_and_nothing_else(
    secured: Server, keys: dict[str, tuple[Key, str]], who: str
) -> None:
    key = TOKEN if who == "token" else keys["read"][1]
    reply = sign_in(secured, key)
    assert (reply.status, reply.headers["location"]) == (303, "../ui")
    cookie = reply.headers["set-cookie"]
    assert cookie.endswith("; HttpOnly; SameSite=Strict")
    assert key not in cookie
    held = {"cookie": cookie.partition(";")[0]}
    assert secured.call("GET", "/ui", headers={**held, **HTML}).status == 200
    assert secured.call("GET", "/ui/requests", headers={**held, **HTML}).status == 200
    body = {"dataframe_records": records(ROWS[:1])}
    json = {"content-type": "application/json", **held}
    assert secured.call("POST", "/invocations", body, json).status == 401
    assert secured.call("POST", "/feedback", {}, json).status == 401
    for path in ("/metrics", "/report", "/docs", "/v2"):
        assert secured.call("GET", path, headers=held).status == 401
    # A program needs no cookie.
    bearer = {"authorization": f"Bearer {key}"}
    assert secured.call("GET", "/ui", headers=bearer).status == 200
    reply = sign_in(secured, key, next="requests")
    assert reply.headers["location"] == "requests"
    for evil in ("//evil.example", "https://evil.example", "../report", "requests/../../docs"):
        assert sign_in(secured, key, next=evil).headers["location"] == "../ui"
    out = secured.call("POST", "/ui/sign-out", b"", {**held, "content-length": "0"})
    assert "Max-Age=0" in out.headers["set-cookie"]
    https = sign_in(secured, key, **{"x-forwarded-proto": "https"})
    assert https.headers["set-cookie"].endswith("; Secure")


def test_a_session_ends_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = new_key("ann", ["read"])
    other, _ = new_key("ann", ["read"])
    file = tmp_path / "keys.json"

    def gate(*held: Key, token: str = TOKEN) -> Gate:
        file.write_text(write_keys(held))
        return Gate(token, Keyring(str(file), shared_places()))

    def counts(gate: Gate, cookie: str, key: bytes = KEY, name: str = "wine") -> bool:
        sessions = Sessions(gate, key, name)
        return sessions.grant(f"a=b; {sessions.cookie}={cookie}; c=d") is not None

    cookie = Sessions(gate(key), KEY, "wine").begin(secret)
    by_token = Sessions(gate(key), KEY, "wine").begin(f" {TOKEN}\n")
    assert counts(gate(key), cookie)
    assert counts(gate(key), by_token)
    grant = Sessions(gate(key), KEY, "wine").grant(f"mlops-ui-wine={by_token}")
    assert grant is not None
    assert grant.scopes == {"read"}
    # Gone, revoked, or another of the same id.
    assert not counts(gate(), cookie)
    assert not counts(gate(replace(key, revoked_ms=1)), cookie)
    assert not counts(gate(replace(other, id=key.id)), cookie)
    assert not counts(gate(key, token="another-token-of-length"), by_token)
    # Of another deployment, forged, or cut.
    assert not counts(gate(key), cookie, key=b"x" * 32)
    until, who, tag = cookie.split(".")
    assert not counts(gate(key), f"{int(until) + 1}.{who}.{tag}")
    assert not counts(gate(key), f"{until}.{by_token.split('.')[1]}.{tag}")
    for broken in ("", ".", "..", "a.b.c", f"{until}.!.{tag}", cookie[:-1], "é.é.é"):
        assert not counts(gate(key), broken)
    later = time.time() + LASTS_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not counts(gate(key), cookie)
    with pytest.raises(ProtocolError) as refused:
        Sessions(gate(key), KEY, "wine").begin("mlops_nobody_x")
    assert refused.value.kind is Kind.UNAUTHENTICATED


# What viewers cost


async def _watching(broadcast: Broadcast, viewers: int, turns: int) -> list[list[bytes]]:
    async def one() -> list[bytes]:
        events = broadcast.view()
        async with contextlib.aclosing(events):
            return [await anext(events) for _ in range(turns)]

    return await asyncio.gather(*(one() for _ in range(viewers)))


def _broadcast(made: list[int], ended: list[bool]) -> Broadcast:
    async def work() -> None:
        try:
            while True:
                made.append(len(made))
                broadcast.put({"verdict": f"look {len(made)}", "same": "always"})
                broadcast.tell({"n": len(made)})
                await asyncio.sleep(0.01)
        finally:
            ended.append(True)

    broadcast = Broadcast(lambda: (work(),), lambda: b"hello\n\n")
    return broadcast


def test_all_viewers_get_the_same_bytes_of_one_work() -> None:
    made: list[int] = []
    ended: list[bool] = []

    async def run() -> list[list[bytes]]:
        broadcast = _broadcast(made, ended)
        assert not made
        found = await _watching(broadcast, MOST_VIEWERS, 6)
        await asyncio.sleep(0.05)
        work = len(made)
        await asyncio.sleep(0.05)
        # Without viewers nothing is done, and nothing old is kept for the next one.
        assert len(made) == work
        assert not broadcast.html
        return found

    found = asyncio.run(run())
    assert len({tuple(each) for each in found}) == 1
    first, *rest = found[0]
    assert first == b"retry: 2000\n\nhello\n\n"
    text = b"".join(rest)
    # A part is sent when it changes.
    assert text.count(b'"id":"same"') == 1
    assert text.count(b'"id":"verdict"') > 2
    assert len(made) < 30
    assert ended == [True]


def test_a_slow_viewer_gets_what_is_newest() -> None:
    async def run() -> tuple[bytes, bytes]:
        broadcast = _broadcast([], [])
        events = broadcast.view()
        async with contextlib.aclosing(events):
            first = b"".join([await anext(events) for _ in range(3)])
            await asyncio.sleep(0.2)
            return first, await anext(events)

    _, late = asyncio.run(run())
    assert late.count(b"event: now") == 1
    assert late.count(b"event: part") == 1


def test_streams_end_when_the_server_stops(
    models: dict[str, Path], start: Callable[..., Server], tmp_path: Path
) -> None:
    from tests.serving.test_live_page import Events

    server = start(make_launch(tmp_path, served(models)))
    events = Events(server.port)
    events.first("now")
    began = time.monotonic()
    server.process.terminate()
    server.process.wait(20)
    # Open streams do not use up the grace of requests that are under way.
    assert time.monotonic() - began < 4
    assert events.reply.read() is not None
    events.close()
    assert "Traceback" not in server.log
