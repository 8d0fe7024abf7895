"""`mlops doctor`, `mlops stores check`, and the checks before training and deploying."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mlops.deployment.runtime_files import places
from mlops.serving.tls import ServerTls
from mlops.settings import load_settings
from mlops.spec.access import Tls
from mlops.spec.server import ServerState, write_state
from tests.fixtures_stores import TrackingServer
from tests.fixtures_training import Cli
from tests.gcs import Gcs
from tests.minio import Minio
from tests.servers import unused_port
from tests.serving.certificates import Authority
from tests.serving.server import make_launch, served
from tests.stores.sockets import answering
from tests.training.projects import write_project

Capture = pytest.CaptureFixture[str]

_SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "checks.v1.json"


@pytest.fixture(autouse=True)
def nobody(clean_environ: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be somebody without credentials and without a cluster."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("KUBECONFIG", "K_SERVICE", "KUBERNETES_SERVICE_HOST", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def look(cli: Cli, tmp_path: Path, capsys: Capture) -> Any:
    """Return a function that runs a command with --json and gives its checks by name."""

    def run(*words: str, code: int) -> dict[str, dict[str, Any]]:
        assert cli(tmp_path, *words, "--json") == code
        document = json.loads(capsys.readouterr().out)
        jsonschema.validate(document, json.loads(_SCHEMA.read_text()))
        assert document["healthy"] == (code == 0)
        checks = {check["name"]: check for check in document["checks"]}
        for check in checks.values():
            if check["state"] in ("failed", "warning"):
                assert check["fix"]
                assert check["reason"]
        return checks

    return run


def _artifacts(folder: Path, root: str, endpoint: str = "") -> None:
    text = f'[artifacts]\nroot = "{root}"\n'
    (folder / "mlops.toml").write_text(text + f'endpoint_url = "{endpoint}"\n' * bool(endpoint))


def test_a_fresh_folder_is_well(look: Any, tmp_path: Path) -> None:
    checks = look("doctor", code=0)
    store = checks.pop(f"store {tmp_path}/.mlops/artifacts")
    assert [step["name"] for step in store["steps"]] == ["open", "put", "get", "list", "delete"]
    assert {name: check["state"] for name, check in checks.items() if name != "uv"} == {
        "python": "ok",
        "mlflow": "ok",
        "settings": "ok",
        "tracking": "ok",
        "mlruns": "ok",
        "extensions": "skipped",
        "port": "ok",
        "kubectl": "skipped",
        "cluster": "skipped",
    }
    assert list((tmp_path / ".mlops" / "artifacts").iterdir()) == []
    assert not (tmp_path / ".mlops" / "mlflow.db").exists()


def test_people_read_what_to_do(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    old = tmp_path / "mlruns" / "0"
    old.mkdir(parents=True)
    (old / "meta.yaml").write_text("")
    _artifacts(tmp_path, "gs://bucket")
    assert cli(tmp_path, "doctor") == 1
    out = capsys.readouterr().out
    assert "✗ store gs://bucket  open failed: There are no credentials for `gs://bucket`." in out
    assert "fix: `gcloud auth application-default login`" in out
    assert f"! mlruns  `{tmp_path}/mlruns` has runs of an older MLflow" in out
    assert f"mlflow migrate-filestore --source {tmp_path}/mlruns" in out


def test_stores_that_work(
    look: Any, tmp_path: Path, minio: Minio, gcs: Gcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (minio.environ | gcs.environ).items():
        monkeypatch.setenv(name, value)
    first, second = f"s3://{minio.bucket()}/a/b", f"gs://{gcs.bucket()}"
    _artifacts(tmp_path, first)
    checks = look("stores", "check", second, code=0)
    assert list(checks) == [f"store {first}", f"store {second}"]
    for check in checks.values():
        assert [step["name"] for step in check["steps"]] == ["open", "put", "get", "list", "delete"]
    bucket = first.split("/")[2]
    assert "Contents" not in minio.client().list_objects_v2(Bucket=bucket)
    assert f"store {second}" in look("doctor", "--store", second, code=0)


def test_a_step_that_fails_is_named(
    look: Any, tmp_path: Path, minio: Minio, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = minio.bucket()
    _artifacts(tmp_path, f"s3://{bucket}", minio.url)
    for actions, step in (
        (("s3:GetObject", "s3:ListBucket"), "put"),
        (("s3:PutObject", "s3:DeleteObject"), "get"),
        (("s3:PutObject", "s3:DeleteObject", "s3:GetObject"), "list"),
        (("s3:PutObject", "s3:GetObject", "s3:ListBucket"), "delete"),
    ):
        for name, value in (minio.environ | minio.keys_for(*actions).environ).items():
            monkeypatch.setenv(name, value)
        (check,) = look("stores", "check", code=1).values()
        assert check["steps"][-1]["name"] == step
        assert check["message"].startswith(f"{step} failed: ")
        assert check["reason"] == "permission"


def test_a_server_that_answers_everything_is_no_store(
    look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with answering(200, "<html>welcome</html>") as url:
        _artifacts(tmp_path, "s3://bucket", url)
        (check,) = look("stores", "check", code=1).values()
    assert check["reason"] == "protocol"


def test_uris_that_mlflow_takes_alone_are_left_alone(look: Any, tmp_path: Path) -> None:
    for root in ("abfss://container@account.dfs.core.windows.net/a", "dbfs:/models"):
        _artifacts(tmp_path, root)
        (check,) = look("stores", "check", code=0).values()
        assert check["state"] == "skipped"


# The MLflow server.


def test_a_host_name_that_the_server_does_not_take(
    look: Any, direct_mlflow: TrackingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = direct_mlflow.uri.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    check = look("doctor", code=1)["tracking"]
    assert check["reason"] == "host"
    assert "403" in check["message"]
    host = uri.removeprefix("http://")
    assert f"mlflow server --allowed-hosts {host}" in check["fix"]


def test_servers_that_are_well(
    look: Any,
    tmp_path: Path,
    proxied_mlflow: TrackingServer,
    direct_mlflow: TrackingServer,
    minio: Minio,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxied_mlflow.uri)
    checks = look("doctor", code=0)
    assert "MLflow 3." in checks["tracking"]["message"]
    assert checks["store"]["state"] == "skipped"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", direct_mlflow.uri)
    checks = look("doctor", code=1)
    (store,) = (check for name, check in checks.items() if name.startswith("store "))
    assert store["name"].startswith(f"store s3://{direct_mlflow.bucket}/direct")
    assert store["reason"] == "credentials"
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    look("doctor", code=0)


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_us(look: Any, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with answering(status, "no") as url:
        address = url.replace("http://", "http://ann:hunter2@")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        check = look("doctor", code=1)["tracking"]
    assert check["reason"] == "permission"
    assert "hunter2" not in str(check)
    assert "MLFLOW_TRACKING_TOKEN" in check["fix"]


def test_no_server_and_no_mlflow(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused_port()}")
    checks = look("doctor", code=1)
    assert checks["tracking"]["reason"] == "refused"
    assert checks["store"]["state"] == "failed"
    with answering(200, "<html>") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert look("doctor", code=1)["tracking"]["reason"] == "protocol"


# This machine.


def test_a_port_that_is_taken(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("MLOPS_DEPLOY_PORT", str(port))
        check = look("doctor", code=0)["port"]
    assert check["state"] == "warning"
    assert str(port) in check["message"]


def test_a_cluster_that_does_not_answer(
    look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the kubectl of this machine, if it has one, else that is what is missing."""
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://127.0.0.1:{unused_port()}"}}
                ],
                "users": [{"name": "u", "user": {"token": "planted"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    checks = look("doctor", code=0)
    assert "warning" in (checks["kubectl"]["state"], checks["cluster"]["state"])
    assert "planted" not in str(checks)


# Before the work.


def test_training_does_not_begin_without_its_store(
    cli: Cli, tmp_path: Path, capsys: Capture, minio: Minio, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, "raise SystemExit('it ran')")
    _artifacts(tmp_path, "s3://no-such-bucket-here", minio.url)
    for name, value in minio.environ.items():
        monkeypatch.setenv(name, value)
    assert cli(tmp_path, "train") == 5
    err = capsys.readouterr().err
    assert "The bucket of `s3://no-such-bucket-here" in err
    assert "aws s3 mb s3://no-such-bucket-here" in err
    assert "--no-preflight" in err
    assert "it ran" not in err
    assert "Opening MLflow" not in err
    assert not (tmp_path / ".mlops" / "mlflow.db").exists()
    # Without the look, the first artifact says the same.
    assert cli(tmp_path, "train", "--no-preflight") == 5
    err = capsys.readouterr().err
    assert "Opening MLflow" in err
    assert "The bucket of `s3://no-such-bucket-here` does not exist" in err
    assert "aws s3 mb s3://no-such-bucket-here" in err


def test_nothing_is_trained_or_deployed_without_the_server(
    cli: Cli, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused_port()}")
    for words in (("train",), ("deploy", "--model", "wine")):
        started = time.monotonic()
        assert cli(tmp_path, *words) == 6
        assert "Nothing listens" in capsys.readouterr().err
        assert time.monotonic() - started < 5


def test_the_look_costs_nothing_where_all_is_local(tmp_path: Path) -> None:
    import subprocess
    import sys

    import mlops

    code = """
import sys, time
from mlops.settings import load_settings
from mlops.workflows.preflight import preflight
settings = load_settings()
started = time.perf_counter()
preflight(settings, write=True)
assert time.perf_counter() - started < 0.05
assert not {"boto3", "google.cloud.storage", "mlflow"} & set(sys.modules)
"""
    packages = str(Path(mlops.__file__).parent.parent)
    environ = os.environ | {"PYTHONPATH": packages}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, check=True)


def test_certificates_and_lists_of_revoked_ones(look: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert = authority.issue("server", days=60)
    authority.revoke(days=20)
    settings = (
        '[deploy]\ntls_cert = "server.pem"\ntls_key = "server.key"\ntls_client_ca = "test-ca.pem"\n'
        'tls_client_crl = "crl.pem"\n'
    )

    def tls(code: int) -> dict[str, Any]:
        (tmp_path / "mlops.toml").write_text(settings)
        found: dict[str, Any] = look("doctor", code=code)["tls"]
        return found

    assert tls(0)["state"] == "ok"
    authority.revoke(days=-1)
    found = tls(1)
    assert (found["state"], found["reason"]) == ("failed", "expired")
    assert "list of `CN=test-ca` is out of date since" in found["message"]
    authority.revoke(days=20)
    authority.issue("server", days=-1)
    assert "certificate `CN=server` has expired" in tls(1)["message"]
    authority.issue("other")
    (tmp_path / "server.key").write_bytes((tmp_path / "other.key").read_bytes())
    assert "are not a certificate with its key" in tls(1)["message"]
    cert.unlink()
    assert "server.pem` cannot be read: No such file" in tls(1)["message"]
    settings = '[deploy]\ntls_cert = "server.pem"\n'
    assert "needs a certificate and its key" in tls(1)["message"]


def test_certificates_of_a_deployment_that_end_soon(look: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    # A tenth of its life is left.
    cert = authority.issue("server", days=0.2)
    where = places(load_settings(tmp_path, environ={}), "wine")
    where.state.parent.mkdir(parents=True)
    tls = Tls(str(cert), str(cert.with_suffix(".key")), str(authority.file))
    launch = replace(make_launch(tmp_path, served({})), tls=tls)
    write_state(ServerState(launch, 1, 1_000, 2_000, (), None), where.state)
    # Of one that was stopped the files may be gone.
    assert "tls wine" not in look("doctor", code=0)
    with where.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = look("doctor", code=0)
    assert (found["tls wine"]["state"], found["tls wine"]["reason"]) == ("warning", "ending")
    assert "certificate `CN=server` ends 20" in found["tls wine"]["message"]
    assert "tls" not in found
    # What a server of it says in `mlops status`.
    assert ServerTls(tls).warnings == [found["tls wine"]["message"]]
