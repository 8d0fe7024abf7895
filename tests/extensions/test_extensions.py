"""Other packages add strategies by entry points, and harm nothing when they are broken."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops.consumers import CONSUMERS
from mlops.deployment.targets import TARGETS
from mlops.errors import InvalidInputError
from mlops.plugins import Plugins
from mlops.policies import POLICIES
from mlops.protocols import CODECS
from mlops.protocols.base import Rows
from mlops.protocols.clients import CLIENT_CODECS
from mlops.registry.stores import STORES
from mlops.rewards import REWARDS
from mlops.runtimes import RUNTIMES
from mlops.settings import load_settings
from mlops.sinks import SINKS
from mlops.spec.endpoint import is_endpoint, parse_endpoint
from mlops.spec.wire import WIRES
from mlops.training.environments import MANAGERS
from mlops.training.project import read_project
from mlops.training.runner import BACKENDS, Trial, Work, open_runner
from tests.fixtures_deployment import Shop
from tests.training.projects import write_project
from tests.waiting import wait_until

FAMILIES: dict[str, Plugins[Any]] = {
    "acme-even": POLICIES,
    "acme-log": CONSUMERS,
    "acme-csv": CODECS,
    "acme-gain": REWARDS,
    "acme": RUNTIMES,
    "acme-paper": SINKS,
    "acme ": STORES,
    "acme  ": TARGETS,
    "acme-csv ": WIRES,
    "acme-csv  ": CLIENT_CODECS,
    "acme-bench": BACKENDS,
    "acme-env": MANAGERS,
}
Install = Callable[..., None]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_takes_strategies_of_other_packages(installed: Install, name: str) -> None:
    family, name = FAMILIES[name], name.strip()
    before = family.names()
    assert before == list(family)
    installed("acme")
    assert name in family
    assert name in family.names()[len(before) :]
    # Our own names stay free to list.
    assert list(family) == before
    assert family.load(name) is not None
    [added] = [each for each in family.added() if each.name == name]
    assert (added.name, added.package, added.fault) == (name, "acme-mlops", "")


def test_two_packages_with_one_name_are_an_error_that_names_both(installed: Install) -> None:
    assert REWARDS.load("exact").name == "exact"
    installed("acme", "broken")
    with pytest.raises(InvalidInputError) as caught:
        POLICIES.load("acme-even")
    assert caught.value.message == (
        "The policy `acme-even` comes from `acme-mlops` and `broken-mlops`."
    )
    with pytest.raises(InvalidInputError) as caught:
        REWARDS.check("exact")
    assert caught.value.message == "The reward `exact` comes from `mlops-loop` and `broken-mlops`."
    assert "pip uninstall broken-mlops" in (caught.value.hint or "")
    # No other package is touched, nor one that needs ours and did not choose it.
    assert REWARDS.load("exact").name == "exact"
    assert REWARDS.load("brier").name == "brier"
    assert REWARDS.load("acme-gain").name == "acme-gain"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken-module", "cannot be loaded: ModuleNotFoundError: No module named"),
        ("broken-raise", "cannot be loaded: AttributeError"),
        ("broken-kind", "is not a valid reward: `broken_mlops:REWARD` has no `name`, `derive`"),
    ],
)
def test_a_broken_one_is_named(installed: Install, name: str, why: str) -> None:
    installed("broken")
    with pytest.raises(InvalidInputError) as caught:
        REWARDS.load(name)
    assert caught.value.message.startswith(f"The reward `{name}` of the package `broken-mlops` ")
    assert why in caught.value.message
    assert "pip uninstall broken-mlops" in (caught.value.hint or "")


def test_doctor_tells_of_them(installed: Install, wine_shop: Shop) -> None:
    def look() -> dict[str, Any]:
        checks = wine_shop.ok("doctor", "--json").document["checks"]
        [found] = [check for check in checks if check["name"] == "extensions"]
        return dict(found)

    assert look()["state"] == "skipped"
    installed("acme")
    found = look()
    assert found["state"] == "ok"
    for name, family in FAMILIES.items():
        assert f"{family.family} `{name.strip()}` of acme-mlops" in found["message"]
    installed("broken")
    found = look()
    assert found["state"] == "warning"
    assert "`exact` comes from `mlops-loop` and `broken-mlops`" in found["message"]
    assert (
        "The protocol `broken` of the package `broken-mlops` is not a valid protocol"
        in found["message"]
    )


def test_one_of_each_through_the_command_line(
    installed: Install, wine_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a package that is broken, which neither a command nor the server minds."""
    installed("acme", "broken")
    monkeypatch.setenv("ACME_ROOT", str(tmp_path))
    with (wine_shop.folder / "mlops.toml").open("a") as file:
        file.write('\n[journal]\nconsumers = ["broken", "acme-log"]\n')
    [checked] = wine_shop.ok("stores", "check", "acme://shelf/a", "--json").document["checks"][1:]
    assert (checked["name"], checked["state"]) == ("store acme://shelf/a", "ok")
    rendered = wine_shop.ok("deploy", "--model", "modelA", "--target", "acme", "--render", "-")
    assert "arms: modelA" in rendered.out
    refused = wine_shop.run("deploy", "--ab", "modelA", "modelB", "--reward", "exact")
    assert refused.code == 3
    assert "The reward `exact` comes from `mlops-loop` and `broken-mlops`." in refused.err
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--reward", "acme-gain")
    url = f"{wine_shop.state.url}/acme/predict"
    row = b"7.4,0.7,0.0,1.9,0.076,11.0,34.0,0.9978,3.51,0.56,9.4\n"
    request = urllib.request.Request(url, row * 2, {"content-type": "application/x-acme"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        first, second = map(float, answer.read().split())
        request_id = answer.headers["x-mlops-request-id"]
    assert first == second
    outcome = {"request_id": request_id, "row": 0, "truth": first + 1}
    wine_shop.post("/feedback", outcome)
    report = wine_shop.ok("report", "--json").document
    assert report["reward"] == "acme-gain"
    assert [arm["mean"] for arm in report["arms"] if arm["mean"] is not None] == [
        pytest.approx(-10)
    ]
    wait_until((tmp_path / "wine.log").is_file)
    log = wine_shop.where.log.read_text()
    assert "ValueError: broken by its author" in log
    assert "The protocol `broken` of the package `broken-mlops` is not a valid protocol" in log


def test_a_sixth_target_that_only_renders(installed: Install, wine_shop: Shop) -> None:
    """Compose files are no manifests of Kubernetes: neither linted as such nor for kubectl."""
    installed("acme")
    words = ("deploy", "--ab", "modelA", "modelB", "--target", "acme-compose")
    first = wine_shop.ok(*words, "--image", "shop/scorer:3", "--json").document
    assert (first["written"], [file["change"] for file in first["files"]]) == (True, ["create"])
    assert first["next_commands"] == ["docker compose -f deploy/wine/compose.yaml up -d"]
    text = (wine_shop.folder / "deploy/wine/compose.yaml").read_text()
    assert "  modela:\n    image: shop/scorer:3\n" in text
    again = wine_shop.ok(*words, "--image", "shop/scorer:3", "--dry-run", "--json").document
    assert (again["written"], again["files"][0]["change"]) == (False, "same")
    assert wine_shop.ok("status", "--json").document["deployments"] == []
    refused = wine_shop.run(*words, "--apply")
    assert refused.code == 2
    assert "is about a cluster, and `--target acme-compose` only renders files." in refused.err
    refused = wine_shop.run(*words, "--shadow", "modelB")
    assert refused.code == 3
    assert "`wine` cannot be a Compose project: it has no shadows." in refused.err


def test_a_target_with_all_verbs(
    installed: Install, wine_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands find it by the name in the ledger, and show records that they do not know."""
    installed("acme")
    monkeypatch.setenv("ACME_ROOT", str(tmp_path))
    words = ("deploy", "--ab", "modelA", "modelB", "--target", "acme-shelf", "--json")
    assert wine_shop.ok(*words).document["revision"] == 1
    assert wine_shop.ok(*words).document["revision"] == 1
    [found] = wine_shop.ok("status", "--json").document["deployments"]
    assert (found["name"], found["state"], found["revision"]) == ("wine", "running", 1)
    assert '"state": "running"' in wine_shop.ok("status").out
    assert wine_shop.ok("logs").out == '["modelA", "modelB"]\n'
    moved = wine_shop.ok("promote", "--arm", "modelB", "--force", "a test", "--json").document
    assert (moved["revision"], moved["url"]) == (2, "acme://shelf")
    assert wine_shop.ok("logs").out == '["modelB"]\n'
    assert wine_shop.ok("rollback", "--json").document["revision"] == 3
    refused = wine_shop.run("report")
    assert (refused.code, refused.err.strip()) == (7, "error: A shelf keeps no evidence.")
    elsewhere = wine_shop.run("deploy", "--model", "modelA")
    assert elsewhere.code == 7
    assert wine_shop.ok("stop", "--json").document["stopped"] is True
    assert wine_shop.run("status", "--exit-code").code == 10


def test_a_protocol_has_a_client_side(installed: Install) -> None:
    """An arm may be a server that speaks a protocol of another package."""
    assert not is_endpoint("acme-csv+http://host")
    installed("acme")
    endpoint = parse_endpoint("acme-csv+http://host:9000/shop")
    assert endpoint.url == "http://host:9000/shop/acme/predict"
    assert parse_endpoint(endpoint.ref) == endpoint
    client = CLIENT_CODECS.load(endpoint.protocol)
    assert client.encode(Rows([[1.0, 2.0]]), {}, {}) == b"1.0,2.0\n"
    assert list(client.decode(b"6.5\n7\n")) == [6.5, 7.0]  # type: ignore[arg-type]


def test_ours_have_the_name_of_their_door() -> None:
    assert {WIRES.load(short).name for short in WIRES} == set(CODECS)
    assert set(WIRES) == set(CLIENT_CODECS)
    same = parse_endpoint("open-inference+http://host/v2/models/wine")
    assert same == parse_endpoint("v2+http://host/v2/models/wine")
    # The ledger has the short one.
    assert same.ref == "v2+http://host/v2/models/wine"


_PROJECT = """
name: own
python_env: python_env.yaml
entry_points:
  main: {command: "python script.py"}
"""


@pytest.mark.usefixtures("clean_environ")
def test_a_training_backend_and_an_environment_manager(installed: Install, tmp_path: Path) -> None:
    installed("acme")
    write_project(tmp_path, "print('it ran')", _PROJECT)
    (tmp_path / "python_env.yaml").write_text("dependencies: []")
    settings = load_settings(tmp_path, {"training.backend": "acme-bench"}, environ={})
    notes: list[str] = []
    work = Work(read_project(tmp_path), env_manager="acme-env")
    with open_runner(work, settings, note=notes.append) as runner:
        [outcome] = runner.run([Trial("first", "0")])
    assert outcome.code == 0
    assert "it ran" in outcome.log.read_text()
    assert notes[:2] == ["on Acme's bench", "Acme's environment for python_env.yaml"]
