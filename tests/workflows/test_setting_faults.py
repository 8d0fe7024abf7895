"""Settings that can be read and mean nothing, as `mlops doctor` finds them."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from mlops.settings import load_settings
from mlops.settings.schema import SECTIONS
from mlops.workflows.setting_faults import setting_faults
from tests.fixtures_training import Cli

_WRONG = """\
[deploy]
ramp = [50, 5]
policy = "thomson"
isolate = "maybe"
[log.sinks.bus]
kind = "kafak"
to = "x"
[auth]
algorithms = ["none"]
[cluster]
cpu = "lots"
extras = ["monitorin"]
[monitoring]
feedback_within = "soon"
[feedback]
max_per_key = "5000/fortnight"
missing = "0"
[watch]
season = "year"
labels = "some"
[training]
backend = "rai"
memory = "0"
[kserve]
mode = "nativ"
[kubernetes]
replicas = 5
max_replicas = 2
"""


def faults(folder: Path, text: str) -> list[str]:
    (folder / "mlops.toml").write_text(text)
    return list(setting_faults(load_settings(folder, environ={})))


def test_the_defaults_have_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, "") == []


def test_every_fault_is_found_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mlops.toml"
    found = faults(tmp_path, _WRONG)
    lines = _WRONG.splitlines()
    wrong = {
        "ramp", "policy", "isolate", "algorithms", "cpu", "extras", "feedback_within",
        "max_per_key", "missing", "season", "labels", "backend", "memory", "mode", "replicas",
    }  # fmt: skip
    numbers = {i for i, line in enumerate(lines, start=1) if line.split(" ")[0] in wrong}
    numbers.add(1 + lines.index("[log.sinks.bus]"))
    assert sorted(int(fault.removeprefix(f"{file}:").split(":")[0]) for fault in found) == sorted(
        numbers
    )
    assert any("Did you mean `kafka`?" in fault for fault in found)
    assert any("needs a feedback window" in fault for fault in found)


@pytest.mark.parametrize(
    "text",
    [
        "[deploy]\nramp = [5, 150]",
        '[log.sinks.files]\nkind = "parquet"\nto = "logs"\nfeatuers = "none"',
        '[cluster]\nmemory = "0"',
        '[cluster]\nimage = "bad image name"',
        '[cluster]\ntolerations = ["a=b:Never"]',
    ],
)
def test_one_fault(tmp_path: Path, text: str) -> None:
    assert len(faults(tmp_path, text)) == 1


def test_what_every_pod_has_is_not_said_of_a_job_alone(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[cluster]\ntolerations = ["a=b:Never"]')
    assert "`cluster.tolerations`: `cluster.tolerations` has `a=b:Never`" in fault
    assert "Job" not in fault


@pytest.mark.parametrize(
    "text",
    [
        "[deploy]\nramp = [5, 25, 100]",
        '[feedback]\nmissing = "0"\nwindow = "7d"\nmax_per_key = "1000/1d"',
        '[cluster]\nmodel_server = "prepackaged"\nnode_selector = ["pool=ml"]',
        '[log.sinks.files]\nkind = "parquet"\nto = "logs"',
    ],
)
def test_settings_that_go_together(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text) == []
    assert not (tmp_path / "logs").exists()


def test_every_default_can_be_put_back() -> None:
    """That is how the setting at fault is found."""
    assert all(hasattr(item, "default") for each in SECTIONS.values() for item in fields(each))


def test_the_doctor_says_it(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlops.toml").write_text("[deploy]\nramp = [50, 5]\n")
    assert cli(tmp_path, "doctor", "--json") == 1
    checks = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["settings"]["state"] == "failed"
    assert f"{tmp_path}/mlops.toml:2: `deploy.ramp`" in checks["settings"]["message"]


def test_a_port_that_cannot_be_ends_with_a_document(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlops.toml").write_text("[deploy]\nport = 80800\n")
    for words in (("doctor",), ("config", "show"), ("deploy", "--model", "wine")):
        assert cli(tmp_path, *words, "--json") == 3
        error = json.loads(capsys.readouterr().out)["error"]
        assert "`deploy.port` must be from 0 to 65535" in error["message"]
