"""`mlops train` brings artifacts to the store of the settings, wherever the runs are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops.registry import experiment_id, fetch, open_registry
from mlops.settings import load_settings
from mlops.training import TrainRequest, TrainResult, train
from mlops.training.progress import Silent
from tests.fixtures_stores import TrackingServer
from tests.gcs import Gcs
from tests.minio import Minio
from tests.training.projects import write_project
from tests.training.test_train import LOGS_MODEL

pytestmark = pytest.mark.usefixtures("clean_environ")


class _Notes(Silent):
    """Remembers what was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def _train(folder: Path, settings: str) -> tuple[TrainResult, list[str]]:
    write_project(folder, LOGS_MODEL)
    (folder / "mlops.toml").write_text(settings)
    notes = _Notes()
    loaded = load_settings(folder)
    result = train(TrainRequest(str(folder)), loaded, notes)
    assert result.model is not None
    assert (fetch(result.model, loaded) / "MLmodel").is_file()
    return result, notes.notes


@pytest.fixture
def aws_folder(minio: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a profile for `minio`, and nothing of it in the environment."""
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    keys = minio.keys
    (folder / "credentials").write_text(
        f"[shop]\naws_access_key_id = {keys.access}\naws_secret_access_key = {keys.secret}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Keys of somebody else, which must not win over what the settings name.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "else")
    return folder


def _keys(minio: Minio, bucket: str) -> list[str]:
    found = minio.client().list_objects_v2(Bucket=bucket).get("Contents", [])
    return [entry["Key"] for entry in found]


def test_to_minio_by_a_profile_with_runs_in_sqlite(
    minio: Minio, ready_folder: Path, aws_folder: Path
) -> None:
    bucket = minio.bucket()
    settings = f"""
[artifacts]
root = "s3://{bucket}/some/prefix"
endpoint_url = "{minio.url}"
credentials = "profile:shop"
"""
    result, notes = _train(ready_folder, settings)
    keys = _keys(minio, bucket)
    assert any(key.startswith("some/prefix/tiny/") and key.endswith("/MLmodel") for key in keys)
    assert result.model is not None
    assert result.model.source.startswith(f"s3://{bucket}/some/prefix/tiny/")
    assert not (ready_folder / ".mlops" / "artifacts").exists()
    assert not (ready_folder / "mlruns").exists()
    assert not [note for note in notes if "keeps its artifacts" in note]


def test_to_cloud_storage(gcs: Gcs, ready_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = gcs.bucket()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    result, _ = _train(ready_folder, f'[artifacts]\nroot = "gs://{bucket}/models"\n')
    assert result.model is not None
    assert result.model.source.startswith(f"gs://{bucket}/models/tiny/")
    client = gcs.client()
    names = [blob.name for blob in client.list_blobs(bucket)]
    client.close()
    assert any(name.endswith("/MLmodel") for name in names)


def test_to_the_bucket_of_a_server_that_only_names_it(
    direct_mlflow: TrackingServer, minio: Minio, tmp_path: Path, aws_folder: Path
) -> None:
    settings = f"""
[tracking]
uri = "{direct_mlflow.uri}"
[artifacts]
endpoint_url = "{minio.url}"
credentials = "file:home/.aws/shop"
"""
    text = (aws_folder / "credentials").read_text().replace("[shop]", "[default]")
    (aws_folder / "shop").write_text(text)
    result, _ = _train(tmp_path, settings)
    assert result.model is not None
    assert result.model.source.startswith(("models:/", f"s3://{direct_mlflow.bucket}/direct"))
    assert any(key.endswith("/MLmodel") for key in _keys(minio, direct_mlflow.bucket))


def test_through_a_server_that_alone_reaches_its_bucket(
    proxied_mlflow: TrackingServer, minio: Minio, tmp_path: Path
) -> None:
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    _train(tmp_path, f'[tracking]\nuri = "{proxied_mlflow.uri}"\n')
    assert any(key.endswith("/MLmodel") for key in _keys(minio, proxied_mlflow.bucket))


def test_an_experiment_that_lies_elsewhere_is_named(
    minio: Minio, ready_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load_settings(ready_folder)
    experiment_id(open_registry(plain), plain, "tiny")
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    bucket = minio.bucket()
    _, notes = _train(ready_folder, f'[artifacts]\nroot = "s3://{bucket}"\n')
    (note,) = [note for note in notes if "keeps its artifacts" in note]
    assert f"not under s3://{bucket}" in note
    assert str(ready_folder / ".mlops" / "artifacts" / "tiny") in note
    assert "--experiment" in note
    assert _keys(minio, bucket) == []
