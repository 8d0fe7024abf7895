"""A planted credential is found nowhere: not in output, logs, manifests, argv, ledger, journal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlops
from tests.fixtures_deployment import Shop
from tests.minio import Minio
from tests.training.projects import write_project
from tests.training.test_train import LOGS_MODEL

pytestmark = pytest.mark.usefixtures("clean_environ")


@pytest.fixture
def planted(minio: Minio) -> tuple[str, ...]:
    return (minio.keys.access, minio.keys.secret)


class _Watch:
    """Runs `mlops` as a person does, and remembers all that it and its children showed."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        packages = str(Path(mlops.__file__).parent.parent)
        self.folder = folder
        self.seen: list[str] = []
        self._environ = os.environ | environ | {"PYTHONPATH": packages, "MLOPS_DEBUG": "1"}

    def run(
        self,
        *words: str,
        code: int = 0,
        folder: Path | None = None,
        environ: dict[str, str] | None = None,
    ) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlops", *words],
            cwd=folder or self.folder,
            env=self._environ | (environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while process.poll() is None:
            self.seen += _command_lines()
            time.sleep(0.25)
        out, _ = process.communicate()
        self.seen.append(out)
        assert process.returncode == code, out
        return out


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


@pytest.fixture
def watch(wine_shop: Shop, minio: Minio, tmp_path: Path) -> _Watch:
    (wine_shop.folder / "mlops.toml").write_text(
        f"""
[artifacts]
root = "s3://{minio.bucket()}/models"
endpoint_url = "{minio.url}"
credentials = "environment"
[feedback]
reward = "squared-error"
"""
    )
    environ = minio.environ | {"HOME": str(tmp_path)}
    return _Watch(wine_shop.folder, environ)


def test_no_planted_secret_is_found(
    watch: _Watch, wine_shop: Shop, planted: tuple[str, ...], tmp_path: Path
) -> None:
    tiny = write_project(tmp_path / "tiny", LOGS_MODEL)
    # Each project has its own settings and state.
    shutil.copy(wine_shop.folder / "mlops.toml", tiny)
    project = str(tiny)
    watch.run("train", project)
    wrong = {"AWS_SECRET_ACCESS_KEY": f"{planted[1]}x"}
    watch.run("train", project, "--no-preflight", code=4, environ=wrong)
    uri = f"{wine_shop.settings.artifacts.root}/pushed"
    watch.run("models", "push", "tiny", uri, folder=tiny)
    watch.run("models", "push", "tiny", uri, code=4, folder=tiny, environ=wrong)
    watch.run("models", "pull", uri, "./pulled", "--json", folder=tiny)
    watch.run("config", "show", "--origin")
    said = watch.run("doctor", "--json", code=1, environ=wrong)
    assert "SignatureDoesNotMatch" in said
    watch.run("stores", "secret", "--for", "kserve")
    words = ("--target", "seldon", "--render", "out", "--name", "t")
    watch.run("deploy", "--model", "tiny", *words, folder=tiny)
    watch.run("deploy", "--ab", "modelA", "modelB", "--name", "wine")
    wine_shop.ask()
    request_id, _ = wine_shop.ask()
    watch.run("feedback", "wine", "--request-id", request_id, "--truth", "6")
    watch.seen += _command_lines()
    watch.run("stop", "wine")

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert any(path.name.startswith("train-") for path in files)
    assert (tiny / "out").is_dir()
    for secret in planted:
        assert not [text for text in watch.seen if secret in text]
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_asked_for_it_is_printed(watch: _Watch, planted: tuple[str, ...]) -> None:
    """Else the test above could not fail."""
    out = watch.run("stores", "secret", "--for", "kserve", "--with-values")
    assert all(secret in out for secret in planted)
