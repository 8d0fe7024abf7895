"""`mlops deploy` keeps what it is not told to change, and `mlops start` brings it up again."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.deployment.keeping import keep
from mlops.deployment.systemd import systemd_unit
from mlops.registry.ledger import Entry, Intent
from mlops.settings import load_settings
from mlops.spec.analysis import Analysis
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop


def test_nothing_has_to_be_remembered(wine_shop: Shop) -> None:
    first = (
        *("deploy", "--ab", "wine@modelA", "modelB", "--split", "80/20"),
        *("--reward", "absolute-error", "--reward-range", "-9..0", "--sticky-by", "header:X-U"),
        *("--horizon", "14d", "--worth", "0.1", "--guardrail", "errors=0.05"),
        *("--guardrail", "latency_ms=50"),
    )
    assert wine_shop.run("deploy", "--json").error["code"] == "usage"
    wine_shop.ok(*first)
    spec = wine_shop.state.launch.served.revision.spec
    assert [arm.name for arm in spec.arms] == ["modelA", "modelB"]

    # A change of weights is a change of weights, though `mlops.toml` names another reward.
    said = wine_shop.ok("deploy", "--split", "70/30")
    assert "kept: reward absolute-error, reward-range -9..0, sticky-by header:X-U" in said.err
    told = "horizon 14d, worth 0.1, guardrail errors=0.05, latency_ms=50"
    assert told in " ".join(said.err.split())
    changed = wine_shop.state.launch.served.revision.spec
    assert [arm.weight for arm in changed.arms] == [0.7, 0.3]
    assert changed.experiment == spec.experiment
    declared = Analysis(0.1, (("errors", 0.05), ("latency_ms", 50.0)))
    assert (changed.horizon_days, changed.analysis) == (14.0, declared)

    # However the same models are spelled, they are the same arms, and the weights stay.
    for words in (
        ("--ab", "modelA", "models:/wine@modelB"),
        ("--arm", "modelA=wine/1", "--arm", "modelB=wine/2"),
        (),
    ):
        again = wine_shop.ok("deploy", *words, "--json").document
        assert (again["change"], again["revision"]) == ("nothing", 2), words
    assert wine_shop.ok("deploy", "--dry-run", "--json").document["plan"]["kept"][-1] == (
        "split 70/30"
    )

    sums = wine_shop.ok("deploy", "--repeated", "sum", "--dry-run")
    assert "send each with an `outcome_id`" in " ".join((sums.out + sums.err).split())

    # An option is told to go.
    assert wine_shop.run("deploy", "--reset", "rewrad", "--json").error["hint"] == (
        "Did you mean `reward`?"
    )
    back = wine_shop.ok("deploy", "--reset", "reward", "--reset", "split", "--json").document
    assert back["change"] == "update"
    spec = wine_shop.state.launch.served.revision.spec
    assert (spec.reward, spec.reward_range, spec.sticky_by) == ("squared-error", None, "header:X-U")
    assert [arm.weight for arm in spec.arms] == [0.5, 0.5]

    # A second deployment that wants the same port is told whose it is, and gets one near it.
    url, port = wine_shop.state.url, wine_shop.state.launch.port
    second = ("deploy", "--model", "wine/1", "--name", "second")
    taken = wine_shop.run(*second, "--port", str(port), "--json")
    assert "taken by your deployment `wine`" in taken.error["message"]
    near = re.search(r"--port (\d+)", taken.error["hint"])
    assert near is not None
    assert port < int(near[1]) < port + 100
    wine_shop.ok(*second, "--port", near[1])
    # Two run: a command that does not say which changes neither.
    for command in ("stop", "promote", "rollback"):
        which = wine_shop.run(command, "--json")
        assert (which.code, "`second`, `wine`" in which.error["message"]) == (2, True), command
    assert wine_shop.ok("stop", "second", "--json").document["stopped"] is True

    # After a stop, and after a crash, it starts as it was deployed.
    wine_shop.ok("stop")
    stopped = wine_shop.run("status", "--exit-code")
    assert stopped.code == 10
    assert "mlops start wine" in stopped.out
    assert wine_shop.run("status", "--wait", "0.1").code == 10
    # Meanwhile somebody else may take its port: a start says how it comes up at another.
    with socket.create_server(("127.0.0.1", port)):
        taken = wine_shop.run("start", "--json")
    assert (taken.code, taken.error["code"]) == (7, "conflict")
    assert "`mlops deploy --name wine --port " in taken.error["hint"]
    up = wine_shop.ok("start", "--json").document
    assert (up["change"], up["revision"], up["url"]) == ("start", 3, url)
    assert wine_shop.state.launch.served.revision.spec == spec
    pid = wine_shop.state.pid
    assert wine_shop.ok("start", "wine", "--json").document["change"] == "nothing"
    assert wine_shop.state.pid == pid
    wine_shop.ok("status", "wine", "--wait", "20")
    busy = wine_shop.run("start", "--foreground", "--json")
    assert (busy.code, "mlops stop wine" in busy.error["hint"]) == (7, True)
    wine_shop.kill()
    assert wine_shop.run("status", "--exit-code").code == 12
    assert wine_shop.ok("deploy", "--json").document["revision"] == 3


def test_what_executes_the_models_is_kept_and_proved(wine_shop: Shop) -> None:
    deployed = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--json").document
    proof = deployed["runtimes"]["modelA"]["proof"]
    assert deployed["runtimes"]["modelA"]["name"] == "numpy"
    assert all(arm["model"]["digest"].startswith("sha256:") for arm in deployed["arms"])
    assert (proof["rows"] > 300, proof["largest_difference"]) == (True, 0)

    # The models that run already are opened again for another runtime, which later deploys keep.
    said = wine_shop.ok("deploy", "--runtime", "native")
    assert "~ runtime  native  (was auto)" in said.err
    assert "  modelA, modelB: runtime native: " in said.out
    assert said.out.count("µs a row") == 1
    wine_shop.ok("deploy", "--split", "70/30")
    arms = wine_shop.ok("status", "--json").document["deployments"][0]["arms"]
    assert [arm["runtime"]["name"] for arm in arms] == ["native", "native"]
    assert arms[0]["runtime"]["proof"]["row_us"] < arms[0]["runtime"]["proof"]["row_us_before"]

    # What was proved before is found again.
    said = wine_shop.ok("deploy", "--runtime", "auto")
    assert said.out.count(" ago (from the cache)") in (1, 2)
    assert "modelB: runtime numpy, proved equal to pyfunc " in wine_shop.ok("status").out
    found = wine_shop.ok("cache", "list", "--json").document["runtimes"]
    assert sorted(each["runtime"] for each in found) == ["native", "native", "numpy", "numpy"]
    assert wine_shop.ok("cache", "list").out.count("runtime numpy  ") == 2
    cleared = wine_shop.ok("cache", "clear", "--json").document
    fits("cache", cleared)
    assert (len(cleared["runtimes"]), cleared["freed"]) == (4, sum(each["size"] for each in found))

    # The proof stands beside the revision in MLflow.
    stored = sorted(wine_shop.folder.glob(".mlops/artifacts/**/runtimes.json"))
    names = [json.loads(file.read_text())["modelA"]["name"] for file in stored]
    assert sorted(names) == ["native", "native", "numpy", "numpy"]

    unknown = wine_shop.run("deploy", "--runtime", "numpi", "--json").error
    assert unknown["message"] == "There is no runtime called `numpi`."
    assert unknown["hint"] == "Did you mean `numpy`?"


def test_a_unit_names_the_program_and_no_secret(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    assert shop.run("start", "--unit", "--json").code == 2
    assert shop.run("start", "wine", "--unit").code == 5
    shop.where.folder.mkdir(parents=True)
    shop.where.state.write_text("{}")
    unit = shop.ok("start", "wine", "--unit").out
    assert f"WorkingDirectory={tmp_path}\n" in unit
    command = re.search("^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command is not None
    assert command[1] == f"{sys.executable} -m mlops start wine --foreground"
    assert "Restart=on-failure" in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("folder", ["plain", "with blanks", "50% off"])
def test_systemd_takes_the_unit(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    program = place / "mlops"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = tmp_path / "mlops-wine.service"
    file.write_text(systemd_unit("wine", [str(program)], place))
    words = ["systemd-analyze", "verify", "--user", "--recursive-errors=no", "--man=no", str(file)]
    # It warns of what it ignores, and succeeds.
    environ = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def live(reward: str, *given: str, bounds: tuple[float, float] | None = None) -> Entry:
    arm = Arm("a", ModelVersion("m/1", "m/1", "/m"), 1.0)
    spec = DeploymentSpec("wine", (arm,), reward=reward, reward_range=bounds)
    intent = Intent("deploy", spec, given=given)
    return Entry(4, intent, "live", "ann", "here", 1, 1, "")


FLAG, TOML = "absolute-error", "exact"


@pytest.mark.parametrize(
    ("now", "file", "entry", "reward", "kept"),
    [
        # What the command line says now goes before everything.
        (FLAG, "", live("given", "feedback.reward"), FLAG, False),
        # Then what an earlier one said, also before the file.
        ("", TOML, live("given", "feedback.reward"), "given", True),
        # Then the file, which may have changed since.
        ("", TOML, live("given"), TOML, False),
        # Then the live revision, whatever it has it from.
        ("", "", live("given"), "given", True),
    ],
)
def test_who_has_the_last_word(
    tmp_path: Path, now: str, file: str, entry: Entry, reward: str, kept: bool
) -> None:
    text = f'[feedback]\nreward = "{file}"\nreward_range = [0, 1]\n' if file else ""
    (tmp_path / "mlops.toml").write_text(text)
    settings = load_settings(tmp_path, {"feedback.reward": now or None}, environ={})
    found = keep(settings, entry, "local", {})
    assert found.settings.feedback.reward == reward
    assert any(line.startswith("reward ") for line in found.lines) is kept
    # A range is one of its reward: the file's is not one of a reward that somebody else chose.
    assert found.settings.feedback.reward_range == ((0, 1) if reward == TOML else None)
    assert ("feedback.reward" in found.given) is bool(now or entry.intent.given)
    reset = keep(settings, entry, "local", {}, ["reward"])
    assert reset.settings.feedback.reward == (now or file)
    assert ("feedback.reward" in reset.given) is bool(now)


def test_a_range_stays_with_its_reward(tmp_path: Path) -> None:
    entry = live("given", "feedback.reward", bounds=(0.0, 1.0))
    settings = load_settings(tmp_path, {"feedback.reward": "exact"}, environ={})
    assert keep(settings, entry, "local", {}).settings.feedback.reward_range is None
    settings = load_settings(tmp_path, {"feedback.reward": "given"}, environ={})
    assert keep(settings, entry, "local", {}).settings.feedback.reward_range == (0.0, 1.0)
    other = replace(entry, intent=replace(entry.intent, place=None))
    assert keep(settings, other, "kserve", {}).settings.kserve == settings.kserve
