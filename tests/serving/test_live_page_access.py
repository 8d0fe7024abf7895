"""Who may see the live page: a cookie that reads it, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette

import mlops
from mlops.errors import PUBLIC, RemoteError
from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.buckets import shared_places
from mlops.serving.access.gate import Gate
from mlops.serving.access.grants import Grant
from mlops.serving.access.keyring import Keyring
from mlops.serving.access.opening import open_gate
from mlops.serving.access.signed import Verifier
from mlops.serving.counting import Counts
from mlops.serving.live_page.broadcast import MOST_VIEWERS, Broadcast, stream
from mlops.serving.live_page.hub import Hub
from mlops.serving.live_page.pages import LivePage
from mlops.serving.live_page.reader import Reader
from mlops.serving.live_page.session import LASTS_S, Sessions
from mlops.spec.access import Access, Issuer, Key, new_key, write_keys
from tests.serving.models import ROWS, records
from tests.serving.server import KEY, Reply, Server, make_launch, running, served

TOKEN = "a-token-of-enough-length"
HTML = {"accept": "text/html,*/*"}
_KEYS = ("read", "predict", "read,requests", "read,requests,score")
_ISSUER = Issuer("https://login.example.com/", "wine", "/nowhere")


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[Key, str]]:
    return {name: new_key(name.replace(",", "-"), name.split(",")) for name in _KEYS}


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
        # No dialog of the browser's, and nothing of what the page says, nor which version runs.
        assert mlops.__version__.encode() not in reply.body
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
    # More fields than are read are no fault of the server's.
    assert secured.call("POST", "/ui/sign-in", b"&".join([b"a=1"] * 9), HTML).status == 401
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
    # Totals, and no single request without the scope for it.
    sees = who == "token"
    asked = secured.call("GET", "/ui/requests", headers={**held, **HTML})
    assert asked.status == (200 if sees else 403)
    if not sees:
        # Signed in, with a key that is not enough.
        for text in (b"needs the scope <code>requests</code>", b"Not shown", b"Sign out"):
            assert text in asked.body
        assert b"Not signed in" not in asked.body
    home = secured.call("GET", "/ui", headers=held).body.decode()
    assert home.count("need a key with the scope <code>requests</code>") == (0 if sees else 2)
    why = secured.call("GET", "/ui/requests/abc/explanation", headers=held)
    assert why.status == (404 if sees else 403)
    body = {"dataframe_records": records(ROWS[:1])}
    json = {"content-type": "application/json", **held}
    assert secured.call("POST", "/invocations", body, json).status == 401
    assert secured.call("POST", "/feedback", {}, json).status == 401
    for path in ("/metrics", "/report", "/docs", "/v2"):
        assert secured.call("GET", path, headers=held).status == 401
    # What the page links to asks for no password.
    for link, text in (("ui/report", b"A/B report"), ("ui/docs", b'data-up=".."')):
        assert f'href="{link}"' in home
        assert f'href="{link[3:]}"' not in home
        shown = secured.call("GET", f"/{link}", headers={**held, **HTML})
        assert (shown.status, text in shown.body) == (200, True)
        assert b'type="password"' in secured.call("GET", f"/{link}", headers=HTML).body
    # A program needs no cookie.
    bearer = {"authorization": f"Bearer {key}"}
    assert secured.call("GET", "/ui", headers=bearer).status == 200
    for after in ("requests", "report"):
        assert sign_in(secured, key, next=after).headers["location"] == after
    for evil in ("//evil.example", "https://evil.example", "../report", "requests/../../docs"):
        assert sign_in(secured, key, next=evil).headers["location"] == "../ui"
    ended = secured.call("GET", "/ui", headers={"cookie": f"{held['cookie']}x", **HTML})
    assert ended.status == 401
    assert b"This session has ended" in ended.body
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
    sessions = Sessions(gate(key), KEY, "wine")
    # Another server of this host may have set what is no cookie.
    for other_cookies in ("", "; flag", '; a="b; c={d}'):
        grant = sessions.grant(f"{sessions.cookie}={by_token}{other_cookies}")
        assert grant is not None
        assert grant.scopes == {"read", "requests", "score"}
    # Gone, revoked, or another of the same id.
    assert not counts(gate(), cookie)
    assert not counts(gate(replace(key, revoked_ms=1)), cookie)
    assert not counts(gate(replace(other, id=key.id)), cookie)
    assert not counts(gate(key, token="another-token-of-length"), by_token)
    # Of another deployment, also of this name, which keeps its own; forged, or cut.
    assert sessions.cookie != Sessions(gate(key), b"x" * 32, "wine").cookie
    assert not counts(gate(key), cookie, key=b"x" * 32)
    until, who, tag = cookie.split(".")
    assert not counts(gate(key), f"{int(until) + 1}.{who}.{tag}")
    assert not counts(gate(key), f"{until}.{by_token.split('.')[1]}.{tag}")
    for broken in ("", ".", "..", "a.b.c", f"{until}.!.{tag}", cookie[:-1], "é.é.é", cookie + "é"):
        assert not counts(gate(key), broken)
    later = time.time() + LASTS_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not counts(gate(key), cookie)
    with pytest.raises(ProtocolError) as refused:
        Sessions(gate(key), KEY, "wine").begin("mlops_nobody_x")
    assert refused.value.kind is Kind.UNAUTHENTICATED


def test_a_cookie_carries_what_its_key_allows_on_the_page(tmp_path: Path) -> None:
    made = [new_key("-".join(scopes), scopes) for scopes in (["read"], ["read", "requests"])]
    file = tmp_path / "keys.json"
    file.write_text(write_keys(key for key, _ in made))
    gate = Gate("", Keyring(str(file), shared_places()))
    sessions = Sessions(gate, KEY, "wine")
    for key, secret in made:
        grant = sessions.grant(f"{sessions.cookie}={sessions.begin(secret)}")
        assert grant is not None
        assert grant.scopes == set(key.scopes)
    # A key that may see requests and no totals cannot sign in.
    only, secret = new_key("only", ["requests", "predict"])
    file.write_text(write_keys([only]))
    gate.keyring.reload()
    with pytest.raises(ProtocolError, match="needs the scope `read`"):
        sessions.begin(secret)


def test_no_cookie_is_made_where_no_key_is_asked_for() -> None:
    with pytest.raises(ProtocolError) as refused:
        Sessions(Gate(), KEY, "wine").begin("anything")
    assert refused.value.kind is Kind.FORBIDDEN


def test_a_signed_token_signs_in_for_its_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    until = time.time() + 60
    granted = Grant("jwt:ann", frozenset({"read", "requests", "predict"}), until)
    monkeypatch.setattr(Verifier, "grant", lambda self, token: granted)
    sessions = Sessions(Gate(verifier=Verifier(_ISSUER)), KEY, "wine")
    cookies = f"{sessions.cookie}={sessions.begin('a.b.c')}"
    grant = sessions.grant(cookies)
    assert grant is not None
    assert grant.key_id == "jwt:ann"
    assert grant.scopes == {"read", "requests"}
    assert grant.until == int(until)
    for changed in (replace(_ISSUER, issuer="https://b.example/"), replace(_ISSUER, audience="b")):
        assert Sessions(Gate(verifier=Verifier(changed)), KEY, "wine").grant(cookies) is None


@pytest.mark.parametrize(("host", "sees"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_without_keys_requests_are_shown_on_this_machine_only(
    models: dict[str, Path], tmp_path: Path, host: str, sees: bool
) -> None:
    launch = replace(make_launch(tmp_path, served(models)), host=host)
    gate = open_gate(replace(launch, access=Access(unprotected=True)))
    assert gate.admit(b"", "read").key_id is None
    with contextlib.nullcontext() if sees else pytest.raises(ProtocolError, match="requests"):
        gate.admit(b"", "requests")


class _Busy(Reader):
    """A reader that has enough questions, and cannot read the journal."""

    async def ask(self, what: str, **terms: Any) -> dict[str, Any]:
        raise RemoteError("Enough <b> is being read.", hint="Try again.", reason=PUBLIC)


def test_an_explanation_that_must_wait_may_be_asked_for_again() -> None:
    nobody: Any = None
    page = LivePage(nobody, nobody, _Busy({}), nobody, nobody, lambda: False)

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=page.routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/ui/requests/abc/explanation")

    reply = asyncio.run(run())
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")


def test_a_fault_of_the_reader_is_sent_as_text() -> None:
    """The page writes `faults` as text, and parts as HTML."""

    async def counts() -> Counts:
        return Counts()

    async def run() -> bytes:
        hub = Hub(counts, _Busy({}), lambda: {"revision": 1, "faults": ["a"]})
        seen = b""
        async with contextlib.aclosing(hub.broadcast.view()) as events:
            while b"Enough" not in seen:
                seen += await asyncio.wait_for(anext(events), 10)
        return seen

    text = asyncio.run(run())
    assert b'"faults":["a","Enough <b> is being read. Try again."]' in text
    assert b"event: part" not in text


# Streams


def test_a_stream_hides_parts_and_ends_with_its_key() -> None:
    """What is revoked while somebody looks is not sent another event."""
    sent: list[bytes] = []
    allowed = [True]

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b"event: now" in sent[-1] and len(sent) > 4:
            allowed[0] = False

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def run() -> None:
        answer = stream(_broadcast([], []), ["same"], lambda: allowed[0])
        await asyncio.wait_for(answer({"type": "http"}, receive, send), 5)

    asyncio.run(run())
    text = b"".join(sent)
    assert b'"id":"verdict"' in text
    assert b'"id":"same"' not in text
    assert sent[-1] == b""
    assert len(sent) == 6


@pytest.mark.parametrize("by_cookie", [True, False])
def test_an_open_page_ends_when_its_key_is_revoked(
    secured: Server, keys: dict[str, tuple[Key, str]], by_cookie: bool
) -> None:
    from tests.serving.test_live_page import Events

    file = Path(secured.launch.access.keys_file)
    kept = [key for key, _ in keys.values()]
    guest, secret = new_key("guest", ["read"])
    file.write_text(write_keys([*kept, guest]))
    bearer = {"authorization": f"Bearer {secret}"}
    _wait_for(secured, bearer, 200)
    cookie = sign_in(secured, secret).headers["set-cookie"].partition(";")[0]
    events = Events(secured.port, **({"cookie": cookie} if by_cookie else bearer))
    events.first("now")
    file.write_text(write_keys(kept))
    found, deadline = set(), time.monotonic() + 180
    for _, data in events:
        assert time.monotonic() < deadline
        found.add(data.get("id"))
    events.close()
    assert secured.get("/ui", **bearer).status == 401
    assert not {"drift", "outliers"} & found


def _wait_for(server: Server, bearer: dict[str, str], status: int) -> None:
    deadline = time.monotonic() + 180
    while server.get("/ui", **bearer).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


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

    broadcast = Broadcast((work,), lambda: b"hello\n\n")
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
    server.process.terminate()
    server.process.wait(20)
    # To its end, which is a whole answer: nothing was cut off.
    events.reply.read()
    events.close()
    # Open streams do not use up the grace of requests that are under way.
    assert "graceful shutdown exceeded" not in server.log
    assert "Traceback" not in server.log
