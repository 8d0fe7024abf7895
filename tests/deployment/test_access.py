"""What a server is started with, as settings say who is let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops.deployment.local import make_launch
from mlops.deployment.runtime_files import places
from mlops.errors import InvalidInputError, UsageError
from mlops.settings import load_settings
from mlops.spec.access import Issuer
from mlops.spec.server import Launch
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
    with pytest.raises(UsageError, match="would admit revoked callers"):
        _launch(tmp_path, **files, tls_client_ca="ca.pem", grpc_port=9000)
