from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.client import Client
from mlops.client.connection import Connection
from mlops.client.remote_endpoint import RemoteServer, reach, read_url
from mlops.errors import (
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
    UsageError,
)
from tests.gateway import Gateway, make_authority, open_gateway

_SELDON = "http://gateway/seldon/shops/wine"


@pytest.mark.parametrize(
    ("url", "base", "path", "protocol"),
    [
        (_SELDON, _SELDON, "", "seldon"),
        (f"{_SELDON}/", _SELDON, "", "seldon"),
        (f"{_SELDON}/api/v1.0/predictions", _SELDON, "", "seldon"),
        (f"{_SELDON}/api/v0.1/feedback", _SELDON, "", "seldon"),
        # Ambassador of a single namespace.
        ("http://h/seldon/wine", "http://h/seldon/wine", "", "seldon"),
        # A port-forward has no prefix, but the protocol's own path tells.
        ("http://h:8000/api/v1.0/feedback", "http://h:8000", "", "seldon"),
        ("https://h/v2/models/wine/infer", "https://h", "/v2/models/wine", "v2"),
        ("https://h/p/v1/models/wine:predict", "https://h/p", "/v1/models/wine", "kserve"),
        ("http://h/invocations", "http://h", "", "mlflow"),
        ("http://h/shop/feedback", "http://h/shop", "", "mlops"),
        ("http://h:8080", "http://h:8080", "", None),
    ],
)
def test_a_url_tells_its_protocol(url: str, base: str, path: str, protocol: str | None) -> None:
    assert read_url(url) == (base, path, protocol)


def test_what_is_said_goes_before_what_is_guessed() -> None:
    assert read_url(_SELDON, "mlops") == (_SELDON, "", "mlops")
    assert read_url("http://h/invocations", "mlops") == ("http://h", "", "mlops")
    with pytest.raises(InvalidInputError) as caught:
        read_url("http://h", "v2")
    assert "http://h/v2/models/NAME" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("where", "kind", "says"),
    [
        (RemoteServer("http://h?token=s3cret"), InvalidInputError, "`http://h`"),
        (RemoteServer("http://h/#s3cret"), InvalidInputError, "`http://h/`"),
        (RemoteServer("http://ann:s3cret@h"), InvalidInputError, "credentials"),
        (RemoteServer("seldon+http://h"), InvalidInputError, "`seldon+`"),
        (RemoteServer("h:80"), InvalidInputError, "has no `http://`"),
        (RemoteServer("http://h:port"), InvalidInputError, "not a URL"),
        (RemoteServer("http://[::1"), InvalidInputError, "not a URL"),
        (RemoteServer("http://a..b/feedback"), InvalidInputError, "not a URL"),
        (RemoteServer("http://h/na\u00efve"), InvalidInputError, "not a URL"),
        (RemoteServer("http://h/my wine"), InvalidInputError, "not a URL"),
        (RemoteServer("ann:s3cret@h"), InvalidInputError, "credentials"),
        (RemoteServer("http://ann:s3cret@h:port"), InvalidInputError, "credentials"),
        (RemoteServer("http://h", "grpc"), UsageError, "`grpc`"),
        (RemoteServer(_SELDON, token="s3cret"), UsageError, "command line"),
        (
            RemoteServer(_SELDON, token="env:NO_SUCH_VARIABLE"),
            InvalidInputError,
            "NO_SUCH_VARIABLE",
        ),
        (RemoteServer(_SELDON, token="file:/no/such/file"), InvalidInputError, "/no/such/file"),
        (RemoteServer(_SELDON, headers=("Authorization=s3cret",)), UsageError, "`Authorization`"),
        (RemoteServer(_SELDON, headers=("Cookie=s3cret",)), UsageError, "`Cookie`"),
        (RemoteServer(_SELDON, headers=("X-Api-Key=s3cret",)), UsageError, "`X-Api-Key`"),
        (RemoteServer(_SELDON, headers=("apikey=s3cret",)), UsageError, "`apikey`"),
        (RemoteServer(_SELDON, headers=("X-Auth=s3cret",)), UsageError, "`X-Auth`"),
        (RemoteServer(_SELDON, headers=("s3cret",)), UsageError, "no header"),
        (RemoteServer(_SELDON, headers=("X-A=a\r\nX-B: b",)), InvalidInputError, "`X-A`"),
        (RemoteServer("https://h/feedback", ca_file="/no/ca"), InvalidInputError, "/no/ca"),
    ],
)
def test_what_cannot_be_reached(where: RemoteServer, kind: type[MlopsError], says: str) -> None:
    with pytest.raises(kind) as caught:
        reach(where)
    assert says in caught.value.message
    secret = "s3cret" in f"{caught.value.message} {caught.value.hint}"
    # What stands where a name is expected has been typed as one.
    assert secret is (where.headers == ("s3cret",))


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with open_gateway({}) as opened:
        yield opened


def ask(gateway: Gateway, prefix: str = "/seldon/shops/wine") -> MlopsError:
    with (
        Connection(f"{gateway.url}{prefix}", here=False) as connection,
        pytest.raises(MlopsError) as caught,
    ):
        connection.post("/api/v1.0/feedback", b"{}")
    return caught.value


def test_no_route_of_istio_says_what_the_path_should_be(gateway: Gateway) -> None:
    bare = ask(gateway, "")
    assert type(bare) is NotFoundError
    assert f"`{gateway.url}/seldon/NAMESPACE/NAME`" in (bare.hint or "")
    assert f"`{gateway.url}/seldon/NAMESPACE/NAME`, not under `/shop`" in (
        ask(gateway, "/shop").hint or ""
    )
    missing = ask(gateway)
    assert "kubectl -n shops get seldondeployments wine" in (missing.hint or "")
    gateway.says = (404, {"content-type": "text/plain"}, b"404 page not found\n")
    assert "`protocol: seldon`" in (ask(gateway).hint or "")


def test_a_login_page_is_not_printed(gateway: Gateway) -> None:
    page = b"<!doctype html><html><head><title>Log in\n</title></head>" + b"<p>x</p>" * 1000
    for status in (200, 401, 403, 404, 502):
        gateway.says = (status, {"content-type": "text/html; charset=utf-8"}, page)
        said = ask(gateway)
        assert "an HTML page titled `Log in`" in said.message
        assert len(said.message) < 200
    gateway.says = (200, {}, page)
    assert "login page" in (ask(gateway).hint or "")


def test_redirects_are_told_and_not_followed(gateway: Gateway) -> None:
    gateway.says = (302, {"location": "https://login.example.com/auth?state=s3cret"}, b"")
    said = ask(gateway)
    assert "`https://login.example.com/auth`" in said.message
    assert "s3cret" not in f"{said.message}{said.hint}"
    assert len(gateway.seen) == 1
    for odd in ("http://[::1/x", "http://h:abc/x", ""):
        gateway.says = (302, {"location": odd}, b"")
        assert f"`{odd}`" in ask(gateway).message


@pytest.mark.parametrize("problems", [3, "x", ["x"], [{}], {}])
def test_an_error_of_an_unknown_form_is_shown_as_it_is(gateway: Gateway, problems: object) -> None:
    gateway.says = (400, {}, json.dumps({"problems": problems}).encode())
    assert f"{{'problems': {problems!r}}}" in ask(gateway).message


def test_who_may_not(gateway: Gateway) -> None:
    gateway.token = "right"
    anonymous = ask(gateway)
    assert type(anonymous) is NotAllowedError
    assert "--token env:VARIABLE" in (anonymous.hint or "")
    with (
        Connection(gateway.url, "wrong", here=False) as connection,
        pytest.raises(NotAllowedError) as caught,
    ):
        connection.post("/x", b"{}")
    assert "403 RBAC: access denied" in caught.value.message
    assert "AuthorizationPolicy" in (caught.value.hint or "")


@pytest.mark.parametrize("here", [True, False])
def test_a_key_without_the_scope_is_told_how_it_is_made(gateway: Gateway, here: bool) -> None:
    said = "This needs the scope `feedback`; the key or token has: predict."
    gateway.says = (403, {}, json.dumps({"error": said}).encode())
    with (
        Connection(gateway.url, "right", here=here) as connection,
        pytest.raises(NotAllowedError) as caught,
    ):
        connection.post("/feedback", b"{}")
    hint = caught.value.hint or ""
    assert hint.startswith("`mlops keys create NAME --scope feedback`")
    assert "Istio" not in hint
    with Client(gateway.url, token="right") as client, pytest.raises(NotAllowedError) as told:
        client.feedback("some id", reward=1.0)
    assert told.value.hint == hint


def test_only_what_is_harmless_is_sent_again(gateway: Gateway) -> None:
    gateway.says = (503, {}, b"no healthy upstream")
    paused: list[float] = []
    for here, tries in ((False, 3), (True, 1)):
        gateway.seen.clear()
        with Connection(gateway.url, here=here) as connection, pytest.raises(RemoteError) as caught:
            connection.post_harmless("/feedback", b"{}", wait=paused.append)
        assert "no healthy upstream" in caught.value.message
        posts = [path for method, path in gateway.seen if method == "POST"]
        assert posts == ["/feedback"] * tries
    assert paused == [0.5, 2.0]
    gateway.seen.clear()
    gateway.says = (500, {}, b"{}")
    with Connection(gateway.url, here=False) as connection, pytest.raises(RemoteError):
        connection.post_harmless("/feedback", b"{}", wait=paused.append)
    assert len(gateway.seen) == 1


@pytest.mark.parametrize(
    ("status", "body", "protocol"),
    [
        (200, {"name": "mlops"}, "mlops"),
        # As Seldon's executor and its Python wrapper answer.
        (404, "404 page not found", "seldon"),
        (500, {"status": {"code": 404, "info": "404 Not Found"}}, "seldon"),
    ],
)
def test_a_server_is_asked_what_it_is(
    gateway: Gateway, status: int, body: object, protocol: str
) -> None:
    gateway.says = (status, {}, json.dumps(body).encode())
    found = reach(RemoteServer(gateway.url))
    assert found.protocol == protocol
    assert gateway.seen == [("GET", "/v2")]
    found.connection.close()


def test_a_server_of_several_models_has_to_be_told_which(gateway: Gateway) -> None:
    gateway.says = (200, {}, b'{"name": "mlserver"}')
    with pytest.raises(InvalidInputError) as caught:
        reach(RemoteServer(gateway.url))
    assert f"{gateway.url}/v2/models/NAME" in (caught.value.hint or "")
    gateway.says = (401, {}, b"")
    with pytest.raises(NotAllowedError):
        reach(RemoteServer(gateway.url))


def test_who_answers_invocations_is_asked_whether_it_is_ours(gateway: Gateway) -> None:
    for answer, protocol in (
        (b'{"name": "mlops"}', "mlops"),
        (b'{"name": "mlserver"}', "mlflow"),
        (b'{"detail": "Not Found"}', "mlflow"),
    ):
        gateway.says = (200, {}, answer)
        found = reach(RemoteServer(f"{gateway.url}/invocations"))
        assert (found.protocol, found.url) == (protocol, gateway.url)
        found.connection.close()
    gateway.seen.clear()
    reach(RemoteServer(f"{gateway.url}/invocations", "mlflow")).connection.close()
    assert not gateway.seen


def test_a_gateway_alone_does_not_tell_what_is_behind_it(gateway: Gateway) -> None:
    gateway.says = (503, {}, b"no healthy upstream")
    with pytest.raises(RemoteError, match="no healthy upstream"):
        reach(RemoteServer(gateway.url))
    gateway.says = (200, {}, b"<title>Log in</title>")
    with pytest.raises(RemoteError, match="titled `Log in`"):
        reach(RemoteServer(gateway.url))


def test_a_host_that_the_gateway_tells_apart(gateway: Gateway) -> None:
    gateway.host = "wine.example.com"
    with (
        pytest.raises(NotFoundError) as caught,
        reach(RemoteServer(gateway.url, "mlops")).connection as c,
    ):
        c.post("/feedback", b"{}")
    assert "--header Host=NAME" in (caught.value.hint or "")
    gateway.host, gateway.says = "wine.example.com", (200, {}, b"[]")
    where = RemoteServer(gateway.url, "mlops", headers=("Host=wine.example.com",))
    with reach(where).connection as connection:
        assert connection.post("/feedback", b"{}")[0] == []


def test_certificates(tmp_path: Path) -> None:
    authority, tls = make_authority(tmp_path)
    with open_gateway({}, tls) as gateway:
        gateway.says = (200, {}, b"[]")
        url = f"{gateway.url}/feedback"
        with (
            reach(RemoteServer(url)).connection as connection,
            pytest.raises(RemoteError) as caught,
        ):
            connection.post("/feedback", b"{}")
        assert "certificate that is not trusted" in caught.value.message
        assert "--ca-file" in (caught.value.hint or "")
        for where in (RemoteServer(url, ca_file=str(authority)), RemoteServer(url, insecure=True)):
            with reach(where).connection as connection:
                assert connection.post("/feedback", b"{}")[0] == []
        (tmp_path / "empty.pem").write_text("")
        with pytest.raises(InvalidInputError, match="no certificate"):
            reach(RemoteServer(url, ca_file=str(tmp_path / "empty.pem")))


def test_a_token_of_two_lines_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\nand more")
    with pytest.raises(InvalidInputError) as caught:
        reach(RemoteServer(_SELDON, token=f"file:{tmp_path / 'token'}"))
    assert "s3cret" not in caught.value.message


def test_plain_http_is_not_tls(gateway: Gateway) -> None:
    url = gateway.url.replace("http:", "https:")
    with Connection(url, here=False) as connection, pytest.raises(RemoteError) as caught:
        connection.post("/", b"")
    assert "`http://`" in (caught.value.hint or "")


def test_an_endpoint_is_not_waited_for_longer_than_said() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with (
            Connection(url, timeout_s=0.2, here=False) as connection,
            pytest.raises(RemoteError) as caught,
        ):
            connection.post("/", b"")
    assert caught.value.message == f"{url} does not answer within 0.2 s."
    assert "--timeout" in (caught.value.hint or "")
