"""What a server is started with, as settings say who is let in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from mlops.deployment import keys
from mlops.deployment.local import check_admission, make_launch
from mlops.deployment.recording import lost_keys, record, trail_of
from mlops.deployment.runtime_files import Places, places
from mlops.errors import InvalidInputError, UsageError
from mlops.settings import load_settings
from mlops.spec.access import Issuer
from mlops.spec.server import Launch, ServerState, write_state
from tests.serving.certificates import Authority
from tests.serving.server import served

_AUTH = '[auth]\nissuer = "https://idp"\naudience = "wine"\njwks = "keys.json"\n'


def _launch(folder: Path, text: str = "", **flags: Any) -> Launch:
    (folder / "mlops.toml").write_text(text)
    named = {f"deploy.{name}": value for name, value in flags.items()}
    settings = load_settings(folder, flags=named, environ={})
    return make_launch(settings, places(settings, "wine"), served({}), foreground=True)


def test_a_token_is_made_where_callers_are_asked(tmp_path: Path) -> None:
    launch = _launch(tmp_path)
    assert (launch.token_file, launch.credentials, launch.access.issuer) == ("", "", None)
    # Only this machine reaches it, and yet it needs a token: our own commands have one.
    launch = _launch(tmp_path, _AUTH)
    assert launch.access.issuer == Issuer("https://idp", "wine", str(tmp_path / "keys.json"))
    assert launch.credentials == str(tmp_path / ".mlops/run/wine.token")
    assert Path(launch.credentials).stat().st_mode & 0o777 == 0o600
    assert _launch(tmp_path, host="0.0.0.0").token_file
    assert _launch(tmp_path, host="0.0.0.0", insecure_no_auth=True).token_file == ""


def test_everybody_and_somebody_cannot_both_be_let_in(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an issuer of tokens"):
        _launch(tmp_path, _AUTH, host="0.0.0.0", insecure_no_auth=True)


def test_files_for_tls_are_checked_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a certificate and its key"):
        _launch(tmp_path, tls_cert="server.pem")
    with pytest.raises(InvalidInputError, match=r"server\.pem"):
        _launch(tmp_path, tls_cert="server.pem", tls_key="server.key")
    files = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_crl": "crl.pem"}
    with pytest.raises(UsageError, match="needs the CA"):
        _launch(tmp_path, **files)


def test_grpc_and_a_revocation_list_never_come_together(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert = authority.issue("server")
    files = {
        "tls_cert": cert.name,
        "tls_key": f"{cert.stem}.key",
        "tls_client_ca": authority.file.name,
        "tls_client_crl": authority.revoke().name,
    }
    refused = pytest.raises(UsageError, match="would admit revoked callers")
    with refused:
        _launch(tmp_path, **files, grpc_port=9000)
    # Nor where the last start had one of them.
    where = places(load_settings(tmp_path, environ={}), "wine")
    for first, then in ((files, {"grpc_port": 9000}), ({"grpc_port": 9000}, files)):
        launch = _launch(tmp_path, **first)
        write_state(ServerState(launch, 1, 1_000, 2_000, (), None), where.state)
        with refused:
            _launch(tmp_path, **then)
        where.state.unlink()


def test_a_list_that_refuses_all_callers_is_refused(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other-ca")
    cert = authority.issue("server")
    files = {"tls_cert": cert.name, "tls_key": f"{cert.stem}.key", "tls_client_crl": "crl.pem"}
    authority.revoke(days=-1)
    with pytest.raises(InvalidInputError, match=r"CN=test-ca.*out of date since"):
        _launch(tmp_path, **files, tls_client_ca=authority.file.name)
    authority.revoke()
    both = tmp_path / "both.pem"
    both.write_bytes(authority.file.read_bytes() + other.file.read_bytes())
    with pytest.raises(InvalidInputError, match="`CN=other-ca` has no revocation list"):
        _launch(tmp_path, **files, tls_client_ca=both.name)
    # The list of an authority whose certificate the callers send.
    other.revoke()
    assert _launch(tmp_path, **files, tls_client_ca=authority.file.name).tls


def test_keys_whose_file_is_lost_are_not_taken_for_none(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    where = places(settings, "wine")

    def stopped(launch: Launch) -> None:
        started_ms = time.time_ns() // 1_000_000
        write_state(ServerState(launch, 1, started_ms, started_ms + 1, (), None), where.state)

    stopped(_launch(tmp_path))
    keys.create(settings, "wine", "shop", ["predict"])
    content = where.keys.read_text()
    assert _launch(tmp_path).credentials
    where.keys.unlink()
    with pytest.raises(InvalidInputError, match=r"is gone. `wine` has `owner`, `shop`") as refused:
        _launch(tmp_path)
    assert "mlops keys create" in (refused.value.hint or "")
    # What is whole of a damaged trail counts.
    with trail_of(settings, "wine").path.open("ab") as trail:
        trail.write(b"{}\n")
    with pytest.raises(InvalidInputError, match="is gone"):
        _launch(tmp_path)
    # An earlier start that was open does not say what to do with keys made since.
    write_state(ServerState(_open(tmp_path), 1, 1_000, 2_000, (), None), where.state)
    with pytest.raises(InvalidInputError, match="is gone"):
        _launch(tmp_path)
    # One that was open without them does.
    stopped(_open(tmp_path))
    assert _launch(tmp_path).access.unprotected
    where.keys.write_text(content)
    with pytest.raises(UsageError, match="API keys"):
        _launch(tmp_path)


def _open(folder: Path) -> Launch:
    return _launch(folder, insecure_no_auth=True)


def test_keys_that_are_revoked_or_expired_ask_for_no_file(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    where = places(settings, "wine")
    write_state(ServerState(_launch(tmp_path), 1, 1_000, 2_000, (), None), where.state)
    keys.create(settings, "wine", "shop", ["predict"])
    keys.create(settings, "wine", "soon", ["predict"], expires="1s")
    for name in ("shop", "owner"):
        keys.revoke(settings, "wine", name)
    where.keys.unlink()
    until_ms = time.time_ns() // 1_000_000 + 1_000
    assert lost_keys(settings, where, until_ms - 1_000_000) == {"soon": ANY}
    assert lost_keys(settings, where, until_ms) == {}


def test_keys_that_a_newer_file_has_not_ask_for_no_file(tmp_path: Path) -> None:
    """The way back to a server without keys stays open after their first file was lost."""
    settings = load_settings(tmp_path, environ={})
    where = places(settings, "wine")
    write_state(ServerState(_launch(tmp_path), 1, 1_000, 2_000, (), None), where.state)
    keys.create(settings, "wine", "shop", ["predict"])
    where.keys.unlink()
    assert lost_keys(settings, where, 0).keys() == {"owner", "shop"}
    keys.create(settings, "wine", "web", ["predict"])
    older = where.keys.read_text()
    keys.create(settings, "wine", "app", ["predict"])
    # A backup without `app`; any command that records notices it.
    where.keys.write_text(older)
    record(settings, "wine", ask_mlflow=False)
    where.keys.unlink()
    assert lost_keys(settings, where, 0).keys() == {"owner", "web"}
    where.keys.write_text(older)
    for name in ("owner", "web"):
        keys.revoke(settings, "wine", name)
    where.keys.unlink()
    assert lost_keys(settings, where, 0) == {}
    assert _launch(tmp_path).token_file == ""
    entries = trail_of(settings, "wine").entries()
    gone = [each.document["subject"] for each in entries if each.document["after"] is None]
    assert gone == ["API key owner", "API key shop", "API key app"]


def test_a_setting_does_not_say_that_lost_keys_are_not_needed(tmp_path: Path) -> None:
    _lose_keys(tmp_path)
    with pytest.raises(InvalidInputError, match="is gone"):
        _launch(tmp_path, "[deploy]\ninsecure_no_auth = true\n")
    assert _open(tmp_path).access.unprotected


def test_without_lost_keys_a_server_starts_where_others_are_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = _lose_keys(tmp_path)
    authority = Authority(tmp_path)
    cert = authority.issue("server")
    tls = {"tls_cert": cert.name, "tls_key": f"{cert.stem}.key"}
    for text, flags in (
        ("", {"host": "0.0.0.0"}),
        (_AUTH, {}),
        ("", {**tls, "tls_client_ca": authority.file.name}),
    ):
        assert _launch(tmp_path, text, **flags).credentials
    flags = {"deploy.host": "0.0.0.0"}
    check_admission(load_settings(tmp_path, flags=flags, environ={}), where)
    assert "refuses callers with one of these" in caplog.text
    # TLS alone asks nobody for anything.
    with pytest.raises(InvalidInputError, match="every caller would be admitted"):
        _launch(tmp_path, **tls)


def test_a_refused_start_keeps_the_key_of_request_ids(tmp_path: Path) -> None:
    where = _lose_keys(tmp_path)
    before = where.key.read_bytes()
    with pytest.raises(InvalidInputError, match="is gone"):
        _launch(tmp_path, new_key=True)
    assert where.key.read_bytes() == before
    assert not list(where.folder.glob("*.until-*"))


def test_a_keys_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    where = _lose_keys(tmp_path)
    where.keys.mkdir()
    unreadable = pytest.raises(InvalidInputError, match="cannot be read: Is a directory")
    with unreadable:
        _launch(tmp_path)
    with unreadable:
        keys.listed(load_settings(tmp_path, environ={}), "wine")


def _lose_keys(folder: Path) -> Places:
    """Start a server, make keys, and lose their file."""
    settings = load_settings(folder, environ={})
    where = places(settings, "wine")
    write_state(ServerState(_launch(folder), 1, 1_000, 2_000, (), None), where.state)
    keys.create(settings, "wine", "shop", ["predict"])
    where.keys.unlink()
    return where
