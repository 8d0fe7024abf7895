"""What a pod's server sends and hides is what the settings say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.deployment.manifests import render_checked, render_options
from mlops.deployment.targets.kubernetes import config
from mlops.serving.consumer_process import consumers_of
from mlops.serving.pod import Places, launch, read_config
from mlops.settings import load_settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion

_SETTINGS = """
[journal]
hash = ["customer"]
drop = ["name"]

[watch]
drift = false
outliers = true
season = "week"

[log.sinks.search]
kind = "elasticsearch"
to = "https://search:9200"
password = "env:ONLY_IN_THE_POD"
"""


def test_a_pod_has_the_same_sinks_and_hides_the_same(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text(_SETTINGS)
    options = render_options(load_settings(tmp_path, environ={}))
    spec = DeploymentSpec("wine", (Arm("a", ModelVersion("a", "a/1", "s3://b/a"), 1.0),))
    (tmp_path / "revision.json").write_text(json.dumps(config(spec, options)))
    read = read_config(tmp_path)
    said = launch(read, Places(), {})
    assert (said.hashed, said.dropped) == (("customer",), ("name",))
    (sink,) = said.sinks
    assert (sink.to, sink.options["password"]) == ("https://search:9200", "env:ONLY_IN_THE_POD")
    assert "log:search" in consumers_of(said)
    assert (said.watch, said.season) == (("outliers", "quality"), "week")


def test_without_them_a_manifest_is_as_it_was(tmp_path: Path) -> None:
    options = render_options(load_settings(tmp_path, environ={}))
    spec = DeploymentSpec("wine", (Arm("a", ModelVersion("a", "a/1", "s3://b/a"), 1.0),))
    assert {"sinks", "hashed", "dropped", "watch_changed", "season"}.isdisjoint(
        config(spec, options)
    )


@pytest.mark.parametrize("target", ["kserve", "seldon", "seldon2"])
def test_a_platform_without_a_journal_says_that_sinks_get_nothing(
    tmp_path: Path, target: str
) -> None:
    (tmp_path / "mlops.toml").write_text(_SETTINGS)
    options = render_options(load_settings(tmp_path, environ={}))
    spec = DeploymentSpec("wine", (Arm("a", ModelVersion("a", "a/1", "s3://b/a"), 1.0),))
    said = "The sinks of `[log]` get nothing"
    for sinks in (options.sinks, ()):
        notes = render_checked(target, spec, replace(options, sinks=sinks)).notes
        assert any(said in note for note in notes) is bool(sinks)
