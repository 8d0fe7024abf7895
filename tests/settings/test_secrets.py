"""Settings name where credentials are, and refuse one without printing it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.registry.stores.access import access_for, adopt_environment, mlflow_environment
from mlops.settings import load_settings

_KEY = "AKIAIOSFODNN7EXAMPLE"
_LONG = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "line",
    [
        f'credentials = "{_KEY}"',
        f'credentials = "{_LONG}"',
        f'credentials = "profile:{_LONG}"',
        f'credentials = "file:{_KEY}"',
        f'credentials = "{_KEY}:{_LONG}"',
        f'secret_access_key = "{_LONG}"',
        f'aws_access_key_id = "{_KEY}"',
        f'session_token = "{_LONG}"',
        f'endpoint_url = "http://{_KEY}:{_LONG}@minio:9000"',
        f'root = "s3://{_KEY}:{_LONG}@bucket/path"',
    ],
)
def test_a_pasted_credential_is_explained_and_not_printed(tmp_path: Path, line: str) -> None:
    (tmp_path / "mlops.toml").write_text(f"[artifacts]\n{line}\n")
    with pytest.raises(InvalidInputError) as caught:
        load_settings(tmp_path, environ={})
    said = f"{caught.value.message} {caught.value.hint}"
    assert _KEY not in said
    assert _LONG not in said
    assert "profile:NAME" in said
    assert "mlops.toml" in said


@pytest.mark.parametrize(
    "source", ["", "environment", "profile:shop", "profile:my company", "file:~/keys.json"]
)
def test_sources(tmp_path: Path, source: str) -> None:
    (tmp_path / "mlops.toml").write_text(f'[artifacts]\ncredentials = "{source}"\n')
    assert load_settings(tmp_path, environ={}).artifacts.credentials == source


def test_a_store_with_a_person_in_its_name_is_none_of_ours(tmp_path: Path) -> None:
    root = "abfss://container@account.dfs.core.windows.net/models"
    (tmp_path / "mlops.toml").write_text(f'[artifacts]\nroot = "{root}"\n')
    assert load_settings(tmp_path, environ={}).artifact_root == root


def test_a_tools_variable_counts_for_its_own_kind_of_store(tmp_path: Path) -> None:
    environ = {"MLFLOW_S3_ENDPOINT_URL": "http://s3", "STORAGE_EMULATOR_HOST": "http://gs"}
    for root, endpoint in (("s3://b", "http://s3"), ("gs://b", "http://gs"), ("", "")):
        (tmp_path / "mlops.toml").write_text(f'[artifacts]\nroot = "{root}"\n')
        settings = load_settings(tmp_path, environ=environ)
        assert settings.artifacts.endpoint_url == endpoint
    origin = load_settings(tmp_path, flags={"artifacts.root": "s3://b"}, environ=environ).origins[
        "artifacts.endpoint_url"
    ]
    assert origin == "environment: MLFLOW_S3_ENDPOINT_URL"


@pytest.mark.usefixtures("clean_environ")
@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ("", {}),
        ('root = "s3://b"', {}),
        (
            (
                'root = "s3://b"\nendpoint_url = "http://m:9"\n'
                'region = "eu"\ncredentials = "profile:p"'
            ),
            {
                "MLFLOW_S3_ENDPOINT_URL": "http://m:9",
                "AWS_DEFAULT_REGION": "eu",
                "AWS_PROFILE": "p",
                "AWS_ACCESS_KEY_ID": None,
            },
        ),
        (
            'root = "s3://b"\ncredentials = "file:/keys"',
            {"AWS_SHARED_CREDENTIALS_FILE": "/keys", "AWS_ACCESS_KEY_ID": None},
        ),
        (
            'root = "gs://b"\nendpoint_url = "http://g:9"',
            {"STORAGE_EMULATOR_HOST": "http://g:9", "NO_GCE_CHECK": "true"},
        ),
        (
            'root = "gs://b"\nendpoint_url = "https://g"\ncredentials = "file:/key"',
            {
                "API_ENDPOINT_OVERRIDE": "https://g",
                "GOOGLE_APPLICATION_CREDENTIALS": "/key",
                "NO_GCE_CHECK": "true",
            },
        ),
        ('endpoint_url = "http://m:9"', {"MLFLOW_S3_ENDPOINT_URL": "http://m:9"}),
        ('root = "dbfs:/b"', {}),
    ],
)
def test_mlflows_clients_are_told_in_their_own_variables(
    tmp_path: Path,
    settings: str,
    changes: dict[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlops.registry.stores.access.on_google", lambda: False)
    (tmp_path / "mlops.toml").write_text(f"[artifacts]\n{settings}\n")
    before = {"AWS_ACCESS_KEY_ID": "id", "OTHER": "x"}
    after = mlflow_environment(load_settings(tmp_path, environ={}), before)
    wanted = {name: value for name, value in {**before, **changes}.items() if value is not None}
    assert after == wanted


@pytest.mark.usefixtures("clean_environ")
def test_settings_of_one_kind_of_store_do_not_reach_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:4443")
    text = '[artifacts]\nroot = "s3://b"\nendpoint_url = "http://m:9"\ncredentials = "profile:p"\n'
    (tmp_path / "mlops.toml").write_text(text)
    access = access_for("gs", load_settings(tmp_path, environ={}))
    assert (access.endpoint, access.source) == ("http://localhost:4443", "default")


@pytest.mark.usefixtures("clean_environ")
def test_other_settings_find_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    plain = load_settings(tmp_path, environ={})
    text = '[artifacts]\nroot = "s3://b"\ncredentials = "profile:p"\n'
    (tmp_path / "mlops.toml").write_text(text)
    adopt_environment(load_settings(tmp_path, environ={}))
    assert os.environ["AWS_PROFILE"] == "p"
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    adopt_environment(plain)
    assert "AWS_PROFILE" not in os.environ
    assert os.environ["AWS_ACCESS_KEY_ID"] == "id"
