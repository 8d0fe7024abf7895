"""`mlops stores secret`: each platform's own shape, and values only when asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures_training import Cli

Capture = pytest.CaptureFixture[str]

_SETTINGS = """
[artifacts]
root = "s3://models/wine"
endpoint_url = "http://minio.storage:9000"
credentials = "environment"
"""
# Whatever YAML could trip over.
_SECRET = "s\"e'c: #r\\n{{ e }} t\u00fc"


@pytest.fixture
def secret(cli: Cli, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives the objects which the command prints."""
    (tmp_path / "mlops.toml").write_text(_SETTINGS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", _SECRET)

    def run(*words: str) -> list[dict[str, Any]]:
        assert cli(tmp_path, "stores", "secret", *words) == 0
        out, err = capsys.readouterr()
        assert "planted" not in err
        assert _SECRET not in err
        if "--with-values" not in words:
            assert "planted" not in out
        return list(yaml.safe_load_all(out))

    return run


def test_kserve_wants_annotations_and_an_account(secret: Any) -> None:
    made, account = secret("--for", "kserve", "--with-values", "--namespace", "models")
    annotations = made["metadata"]["annotations"]
    assert annotations == {
        "serving.kserve.io/s3-endpoint": "minio.storage:9000",
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-usevirtualbucket": "0",
        "serving.kserve.io/s3-region": "us-east-1",
    }
    assert made["stringData"] == {
        "AWS_ACCESS_KEY_ID": "planted-id",
        "AWS_SECRET_ACCESS_KEY": _SECRET,
    }
    assert account["kind"] == "ServiceAccount"
    assert account["secrets"] == [{"name": made["metadata"]["name"]}]
    assert {item["metadata"]["namespace"] for item in (made, account)} == {"models"}


def test_seldon_wants_variables_of_a_remote_named_as_the_scheme(secret: Any) -> None:
    (made,) = secret("--for", "seldon", "--with-values")
    assert made["metadata"]["name"] == "seldon-rclone-secret"
    assert made["stringData"] == {
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "Minio",
        "RCLONE_CONFIG_S3_ENV_AUTH": "false",
        "RCLONE_CONFIG_S3_ACCESS_KEY_ID": "planted-id",
        "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": _SECRET,
        "RCLONE_CONFIG_S3_REGION": "us-east-1",
        "RCLONE_CONFIG_S3_ENDPOINT": "http://minio.storage:9000",
    }


def test_seldon_two_wants_one_key_with_a_document(secret: Any) -> None:
    (made,) = secret("--for", "seldon2", "--with-values")
    (value,) = made["stringData"].values()
    assert yaml.safe_load(value) == {
        "type": "s3",
        "name": "s3",
        "parameters": {
            "provider": "Minio",
            "env_auth": False,
            "access_key_id": "planted-id",
            "secret_access_key": _SECRET,
            "region": "us-east-1",
            "endpoint": "http://minio.storage:9000",
        },
    }


def test_any_container_wants_variables(secret: Any) -> None:
    (made,) = secret("--for", "kubernetes", "--with-values", "--name", "wine-store")
    assert made["metadata"] == {"name": "wine-store"}
    assert made["stringData"] == {
        "AWS_ACCESS_KEY_ID": "planted-id",
        "AWS_SECRET_ACCESS_KEY": _SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": "http://minio.storage:9000",
    }


@pytest.mark.parametrize("platform", ["kserve", "seldon", "seldon2", "kubernetes"])
@pytest.mark.parametrize("store", ["", "gs://models"])
def test_values_are_empty_unless_asked_for(secret: Any, platform: str, store: str) -> None:
    words = ("--store", store) if store else ()
    made = secret("--for", platform, *words)[0]
    document = json.dumps(made)
    assert "planted" not in document
    assert '""' in document.replace('\\"', '"')


@pytest.mark.parametrize(
    ("platform", "key"),
    [
        ("kserve", "gcloud-application-credentials.json"),
        ("seldon", "RCLONE_CONFIG_GCS_SERVICE_ACCOUNT_CREDENTIALS"),
        ("seldon2", "remote"),
        ("kubernetes", "key.json"),
    ],
)
def test_google_wants_the_key_file(secret: Any, tmp_path: Path, platform: str, key: str) -> None:
    document = {"type": "service_account", "private_key": "-----BEGIN\nplanted\n"}
    (tmp_path / "key.json").write_text(json.dumps(document, indent=2))
    settings = '[artifacts]\nroot = "gs://models"\ncredentials = "file:key.json"\n'
    (tmp_path / "mlops.toml").write_text(settings)
    value = secret("--for", platform, "--with-values")[0]["stringData"][key]
    if platform == "seldon2":
        remote = yaml.safe_load(value)
        assert (remote["type"], remote["name"]) == ("google cloud storage", "gs")
        value = remote["parameters"]["service_account_credentials"]
    assert json.loads(value) == document


def test_json_holds_the_manifest(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mlops.toml").write_text(_SETTINGS)
    assert cli(tmp_path, "stores", "secret", "--for", "kserve", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["platform"], document["filled"]) == ("kserve", False)
    assert len(list(yaml.safe_load_all(document["manifest"]))) == 2
    assert document["next_commands"] == [
        "mlops stores secret --for kserve --with-values | kubectl apply -f -"
    ]


@pytest.mark.parametrize(
    ("words", "settings", "code", "said"),
    [
        (("--for", "kserv"), _SETTINGS, 3, "Did you mean `kserve`?"),
        (("--for", "kserve"), "", 3, "--store"),
        (("--for", "kserve", "--name", "No Name"), _SETTINGS, 3, "metadata.name"),
        (("--for", "kserve", "--with-values"), '[artifacts]\nroot = "s3://b"', 2, "source"),
        (("--for", "kserve", "--with-values"), _SETTINGS, 4, "AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_cannot_be_made(
    cli: Cli,
    tmp_path: Path,
    capsys: Capture,
    words: tuple[str, ...],
    settings: str,
    code: int,
    said: str,
) -> None:
    (tmp_path / "mlops.toml").write_text(settings)
    assert cli(tmp_path, "stores", "secret", *words) == code
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_temporary_keys_are_no_secret(
    secret: Any, cli: Cli, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-token")
    assert cli(tmp_path, "stores", "secret", "--for", "seldon", "--with-values") == 3
    out, err = capsys.readouterr()
    assert "AWS_SESSION_TOKEN" in err
    assert "planted" not in out + err
