"""What `mlops deploy` makes of the sinks of the settings, before a server has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.deployment.log_sinks import log_sinks
from mlops.errors import InvalidInputError
from mlops.settings import load_settings


def _toml(folder: Path, table: str) -> None:
    (folder / "mlops.toml").write_text(f"[log.sinks.x]\n{table}\n")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('kind = "cloudevents"\nto = "http://host/"\nca = "/missing.pem"', "/missing.pem"),
        ('kind = "kafka"\nto = "host:1"\nconfig = {"compresion.type" = "lz4"}', "compresion"),
        ('kind = "elasticsearch"\nto = "http://host/"\napi_key = "env:NO_KEY"', "NO_KEY"),
    ],
)
def test_a_sink_that_cannot_be_opened_is_told(tmp_path: Path, table: str, said: str) -> None:
    _toml(tmp_path, table)
    settings = load_settings(tmp_path, environ={})
    with pytest.raises(InvalidInputError, match=r"\[log.sinks.x\]") as caught:
        log_sinks(settings)
    assert said in caught.value.message
    # In a pod there may be what is not here.
    if said != "compresion":
        assert log_sinks(settings, here=False)


@pytest.mark.parametrize(
    ("to", "path"),
    [("lake", "{project}/lake"), ("~/lake", "{home}/lake"), ("file:///srv/a%20b", "/srv/a b"),
     ("/srv/lake", "/srv/lake")],
)  # fmt: skip
def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, path: str) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    project.mkdir()
    monkeypatch.setenv("HOME", str(home))
    _toml(project, f'kind = "parquet"\nto = "{to}"')
    (sink,) = log_sinks(load_settings(project, environ={}))
    assert sink.to == path.format(home=home, project=project)
