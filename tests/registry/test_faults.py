"""MLflow's failures as a person meets them, over real HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine, text

from mlops.errors import InvalidInputError, MlopsError, NotAllowedError, RemoteError
from mlops.registry import fetch, mlflow_errors, open_registry, resolve
from mlops.registry.faults import store_errors
from mlops.registry.tracking_probe import ask_tracking
from mlops.settings import Settings, load_settings
from mlops.spec.model import ModelVersion
from mlops.spec.refs import parse_ref
from tests.servers import unused_port

pytestmark = pytest.mark.usefixtures("clean_environ")


def _settings(folder: Path, uri: str) -> Settings:
    return load_settings(folder, flags={"tracking.uri": uri}, environ={})


def _failure(folder: Path, uri: str) -> MlopsError:
    settings = _settings(folder, uri)
    with pytest.raises(MlopsError) as caught:
        resolve(open_registry(settings), settings, parse_ref("wine"))
    return caught.value


@contextmanager
def _answering(status: int, body: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - their name
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://ann:hunter2@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_port_without_a_listener(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        start = time.monotonic()
        error = _failure(tmp_path, f"http://ann:hunter2@127.0.0.1:{port}")
    assert isinstance(error, RemoteError)
    assert f"http://127.0.0.1:{port}" in error.message
    assert "hunter2" not in error.message
    assert time.monotonic() - start < 30


def test_a_refused_host_name_names_the_servers_option(tmp_path: Path) -> None:
    body = "Invalid Host header - possible DNS rebinding attack detected"
    with _answering(403, body) as uri:
        error = _failure(tmp_path, uri)
    assert isinstance(error, NotAllowedError)
    assert "--allowed-hosts" in (error.hint or "")
    assert "hunter2" not in error.message


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_name_the_variables(tmp_path: Path, status: int) -> None:
    with _answering(status, "no") as uri:
        error = _failure(tmp_path, uri)
    assert isinstance(error, NotAllowedError)
    assert "MLFLOW_TRACKING_TOKEN" in (error.hint or "")


def test_a_folder_that_does_not_exist_is_told_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    error = _failure(tmp_path, f"sqlite:///{tmp_path}/nowhere/mlflow.db")
    assert isinstance(error, InvalidInputError)
    assert "nowhere" in error.message
    assert time.monotonic() - start < 10


def test_an_address_of_no_known_kind(tmp_path: Path) -> None:
    assert isinstance(_failure(tmp_path, "quatsch://x"), MlopsError)


@pytest.mark.parametrize(
    ("root", "named"), [("s3://shop/models", "s3://shop/models"), ("", "http://mlflow.example")]
)
def test_a_store_that_the_server_chose_is_spoken_of_by_the_server(
    tmp_path: Path, root: str, named: str
) -> None:
    from botocore.exceptions import NoCredentialsError

    flags = {"tracking.uri": "http://ann:hunter2@mlflow.example", "artifacts.root": root}
    settings = load_settings(tmp_path, flags=flags, environ={})
    with pytest.raises(NotAllowedError) as caught, mlflow_errors(settings):
        raise NoCredentialsError
    assert f"`{named}`" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_a_server_that_closes_the_connection_is_named_in_a_short_sentence(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, flags={"tracking.uri": "http://mlflow.example"}, environ={})
    said = (
        "API request to http://mlflow.example/api/2.0/mlflow/runs/search failed with exception "
        "('Connection aborted.', RemoteDisconnected('Remote end closed connection without "
        "response'))"
    )
    with pytest.raises(RemoteError) as caught, mlflow_errors(settings):
        raise MlflowException(said)
    assert caught.value.message == (
        "MLflow at `http://mlflow.example` cannot be used: the connection ended before its answer "
        "had come."
    )


def test_a_store_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load_settings(tmp_path, environ={})
    model = ModelVersion(ref="s3://b/m", label="s3://b/m", source="s3://b/m")
    with pytest.raises(NotAllowedError, match="s3://b/m"):
        fetch(model, settings)
    assert not [path for path in (settings.home / "cache").rglob("*") if path.is_file()]


def test_a_full_and_a_read_only_disk_are_called_that(tmp_path: Path) -> None:
    """Errors of SQLite itself, in the words that MLflow passes on."""
    settings = load_settings(tmp_path, environ={})
    full = create_engine(f"sqlite:///{tmp_path / 'full.db'}")
    with full.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 2"))
        with pytest.raises(InvalidInputError, match="is full"), mlflow_errors(settings):
            connection.execute(text("CREATE TABLE t AS SELECT zeroblob(100000) AS x"))
    closed = create_engine(f"sqlite:///file:{tmp_path / 'full.db'}?mode=ro&uri=true")
    with (
        closed.connect() as connection,
        pytest.raises(InvalidInputError, match="read-only"),
        mlflow_errors(settings),
    ):
        connection.execute(text("CREATE TABLE u (x)"))
    for engine in (full, closed):
        engine.dispose()


def test_a_server_that_hangs_is_told_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.registry.client._ANSWER_S", 0.3)
    # It takes connections, as the system does for it, and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://ann:hunter2@127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        failure = _failure(tmp_path, uri)
    assert isinstance(failure, RemoteError)
    assert "does not answer within 0.3 s" in failure.message
    assert "hunter2" not in failure.message
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n3.", b"HTPT/1.1 2\x0100 OK\r\n\r\n", b""],
)
def test_an_answer_that_is_cut_off_or_garbled(tmp_path: Path, answer: bytes) -> None:
    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        settings = _settings(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(RemoteError) as caught:
            ask_tracking(settings)
        thread.join()
    assert caught.value.hint


@pytest.mark.parametrize("damage", [b"no database at all" * 100, None])
def test_a_damaged_database_is_called_that(tmp_path: Path, damage: bytes | None) -> None:
    """Garbled or torn: to ask whether it runs would lead nowhere."""
    settings = load_settings(tmp_path, environ={})
    file = tmp_path / "torn.db"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t AS SELECT zeroblob(100000) AS x"))
    engine.dispose()
    file.write_bytes(damage or file.read_bytes()[:9000])
    with (
        pytest.raises(InvalidInputError, match="is damaged") as caught,
        mlflow_errors(settings),
        engine.connect() as connection,
    ):
        connection.execute(text("SELECT length(x), x FROM t")).all()
    assert "Put a copy of it back" in str(caught.value.hint)
    engine.dispose()


def test_a_database_that_refuses_connections(tmp_path: Path) -> None:
    uri = f"postgresql://ann:hunter2@127.0.0.1:{unused_port()}/mlflow"
    settings = load_settings(tmp_path, flags={"tracking.uri": uri}, environ={})
    started = time.monotonic()
    with pytest.raises(RemoteError, match="Connection refused") as caught:
        open_registry(settings)
    assert time.monotonic() - started < 10
    assert "hunter2" not in caught.value.message


def test_keys_that_lead_the_lister_round_and_round() -> None:
    def list_below(key: str) -> None:
        list_below(f"{key}/..")

    with pytest.raises(InvalidInputError, match="cannot be files"), store_errors("s3://shop/model"):
        list_below("model")
