"""Several projects share one ledger: a name has one place, and its project may move."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

import mlops
from mlops.deployment.owners import all_ahead, check_owner, check_repository
from mlops.deployment.runtime_files import places
from mlops.errors import ConflictError, RemoteError
from mlops.registry import live_tags
from mlops.registry.ledger import Intent
from mlops.settings.repository import repository_of
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from mlops.spec.place import Place
from tests.fixtures_deployment import Shop
from tests.serving.models import save_linear


@pytest.fixture
def ledger(ready_folder: Path) -> str:
    """Return the address of an MLflow that all projects of a test share."""
    return f"sqlite:///{ready_folder / '.mlops' / 'mlflow.db'}"


@pytest.fixture
def first(tmp_path: Path, ledger: str) -> Iterator[Shop]:
    """Return a project that has deployed `credit`."""
    shop = project(tmp_path / "first", ledger, 1.0)
    shop.ok("deploy", "--model", "./model")
    yield shop
    shop.close()


@pytest.fixture
def second(tmp_path: Path, ledger: str) -> Iterator[Shop]:
    """Return another project of that name."""
    shop = project(tmp_path / "second", ledger, 2.0)
    yield shop
    shop.close()


def project(folder: Path, ledger: str, weight: float) -> Shop:
    folder.mkdir(parents=True)
    (folder / "mlops.toml").write_text('[deploy]\nname = "credit"\n')
    save_linear(folder / "model", [weight, 0.0, 0.0])
    environ = {"MLFLOW_TRACKING_URI": ledger, "MLOPS_ARTIFACTS_ROOT": str(folder.parent / "store")}
    return Shop(folder, "credit", environ)


def check_out(folder: Path, origin: str) -> None:
    for words in (["init", "-q"], ["remote", "add", "origin", origin]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def test_a_name_is_not_taken_from_another_project(first: Shop, second: Shop) -> None:
    refused = second.run("deploy", "--model", "./model", "--json")
    assert refused.code == 7
    message, hint = refused.error["message"], refused.error["hint"]
    assert f"from `{first.folder}` on {socket.gethostname()}, where it runs" in message
    assert "a name has one place" in message
    assert ("--name" in hint, "`--force-conflicts` takes it over" in hint) == (True, True)
    assert second.run("deploy", "--model", "./model", "--dry-run").code == 7
    first.ok("stop")
    check_out(second.folder, "https://git.example/shop/second.git")
    refused = second.run("deploy", "--model", "./model", "--json")
    assert (refused.code, "where it is stopped" in refused.error["message"]) == (7, True)
    assert first.ledger.numbers() == [1]
    # Nor by a server that is stopped: it is still that project's.
    first.ok("start")
    assert first.ok("status", "--json").document["deployments"][0]["warnings"] == []
    second.ok("deploy", "--name", "other", "--model", "./model")


def test_what_was_taken_over_is_said_and_not_served(first: Shop, second: Shop) -> None:
    taken = second.ok("deploy", "--model", "./model", "--force-conflicts", "--json").document
    assert taken["revision"] == 2
    assert "it is taken over" in taken["warnings"][0]

    told = f"from `{second.folder}` on {socket.gethostname()}, another project"
    (status,) = first.ok("status", "--json").document["deployments"]
    assert (status["state"], status["revision"]) == ("running", 1)
    assert told in status["warnings"][0]
    assert "served revision 1 last" in " ".join(first.ok("status").out.split())
    first.ask()
    assert told in first.ok("report", "--json").document["notes"][0]
    checks = first.run("doctor", "--json").document["checks"]
    (name,) = [each for each in checks if each["name"] == "name credit"]
    assert (name["state"], told in name["message"]) == ("warning", True)
    first.ok("report", "--html", "report.html")
    assert "The ledger is ahead" in (first.folder / "report.html").read_text()

    # As after a crash, when a supervisor starts it again.
    first.kill()
    refused = first.run("start", "--json")
    assert (refused.code, str(second.folder) in refused.error["message"]) == (7, True)
    assert "`mlops rollback credit --to 1 --force-conflicts`" in refused.error["hint"]
    back = first.ok("rollback", "credit", "--to", "1", "--force-conflicts", "--json").document
    assert back["revision"] == 3
    assert first.ok("status", "--json").document["deployments"][0]["warnings"] == []
    (status,) = second.ok("status", "--json").document["deployments"]
    assert f"from `{first.folder}`" in status["warnings"][0]

    entries = second.ok("audit", "show", "--json").document["entries"]
    revisions = [each["after"] for each in entries if each["id"].startswith("revision/")]
    assert [each["project"] for each in revisions] == [
        {"host": socket.gethostname(), "folder": str(each.folder)}
        for each in (first, second, first)
    ]
    told = f"deployed from `{first.folder}` on {socket.gethostname()}"
    assert " ".join(second.ok("history").out.split()).count(told) == 2
    shown = second.ok("audit", "show").out
    assert shown.count("       project /") == 2


def test_the_same_models_taken_over_are_a_revision_too(first: Shop, second: Shop) -> None:
    shutil.rmtree(second.folder / "model")
    again = second.ok("deploy", "--force-conflicts", "--json").document
    assert (again["revision"], again["change"]) == (2, "update")


def test_a_project_that_moves_keeps_its_name(
    first: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.ok("stop")
    moved = Shop(first.folder.rename(tmp_path / "moved"), "credit", first.environ)
    try:
        assert moved.ok("start", "--json").document["revision"] == 1
        assert moved.ok("status", "--json").document["deployments"][0]["warnings"] == []
        moved.ok("stop")
    finally:
        moved.close()
    # A container: its host is new each time, and so is all that it wrote itself.
    moved.folder.rename(first.folder)
    shutil.rmtree(first.folder / ".mlops")
    monkeypatch.setattr(socket, "gethostname", lambda: "b4c0ffee")
    made = first.ok("deploy", "--model", "./model", "--json").document
    assert (made["change"], made["revision"]) == ("start", 1)


def test_each_checkout_of_a_repository_may_deploy(ledger: str, tmp_path: Path) -> None:
    """As a CI job does, in a folder that is new each time."""
    urls = ("https://ci:token@git.example/shop/credit.git", "git@git.example:shop/credit.git")
    jobs = [project(tmp_path / str(number), ledger, number) for number in range(3)]
    other = "https://git.example/shop/fork.git"
    for job, url in zip(jobs, (*urls, other), strict=True):
        check_out(job.folder, url)
    try:
        jobs[0].ok("deploy", "--model", "./model")
        # Two at a time are not one deployment, whatever they are checked out from.
        refused = jobs[1].run("deploy", "--model", "./model", "--json")
        assert (refused.code, "mlops stop credit" in refused.error["hint"]) == (7, True)
        jobs[0].ok("stop")
        made = jobs[1].ok("deploy", "--model", "./model", "--json").document
        assert made["revision"] == 2
        assert "another checkout of the same repository" in made["warnings"][0]
        entry = jobs[1].ledger.live()
        assert entry is not None
        assert entry.repository == "git.example/shop/credit"
        jobs[1].ok("stop")
        assert jobs[2].run("deploy", "--model", "./model").code == 7
        # What a job that cleans up leaves is nobody's.
        shutil.rmtree(jobs[1].folder)
        assert jobs[2].ok("deploy", "--model", "./model", "--json").document["revision"] == 3
    finally:
        for job in jobs:
            job.close()


def test_manifests_are_rendered_from_any_folder(first: Shop, second: Shop) -> None:
    words = ("deploy", "--target", "seldon", "--model", "s3://bucket/m", "--name", "credit")
    said = second.ok(*words, "--render", "-")
    assert "kind: SeldonDeployment" in said.out
    assert "a name has one place" not in said.err


def test_a_cluster_is_deployed_to_from_every_checkout(ledger: str, tmp_path: Path) -> None:
    jobs = [project(tmp_path / str(number), ledger, 1.0) for number in range(4)]
    ours = "https://git.example/shop/credit.git"
    for job, url in zip(jobs, (ours, ours, "https://git.example/shop/fork.git"), strict=False):
        check_out(job.folder, url)
    place = Place("kubernetes", "kind", "https://127.0.0.1:6443", "shop", {})
    arm = Arm("a", ModelVersion("credit/1", "credit/1", "/models/1"), 1.0)
    first = jobs[0].ledger
    first.commit(first.begin(Intent("deploy", DeploymentSpec("credit", (arm,)), place=place), 0), 5)
    live = first.live()
    for job in (jobs[0], jobs[1], jobs[3]):
        check_repository(job.settings, job.where, live, force=False)
    with pytest.raises(ConflictError, match=r"a checkout of git\.example/shop/credit and"):
        check_repository(jobs[2].settings, jobs[2].where, live, force=False)
    check_repository(jobs[2].settings, jobs[2].where, live, force=True)


def test_status_does_not_import_mlflow(first: Shop, second: Shop) -> None:
    second.ok("deploy", "--model", "./model", "--force-conflicts")
    code = """
import sys
from mlops.__main__ import run
code = run(["status", "--json"])
assert "mlflow" not in sys.modules
sys.exit(code)
"""
    packages = str(Path(mlops.__file__).parent.parent)
    environ = os.environ | first.environ | {"PYTHONPATH": packages}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=first.folder,
        env=environ,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, b"The ledger is ahead" in done.stdout) == (0, True), done.stderr


def test_a_ledger_that_only_mlflow_can_read_is_not_asked(
    first: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "databricks-uc")
    assert live_tags.live_tags(first.settings, "credit") == (0, {})


def test_all_deployments_wait_once_for_a_ledger(
    ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = project(tmp_path / "waits", ledger, 1.0)
    asked, began, end = [], Event(), Event()

    def hang(_: object, name: str) -> tuple[int, Mapping[str, str]]:
        asked.append(name)
        began.set()
        end.wait(300)
        raise RemoteError("no answer")

    monkeypatch.setattr(live_tags, "live_tags", hang)
    monkeypatch.setattr("mlops.deployment.owners._LOOK_S", 0.1)
    wheres = [places(shop.settings, name) for name in ("a", "b", "c")]
    assert all_ahead(shop.settings, wheres) == {}
    assert began.wait(300)
    end.set()
    # After a failure the others are not asked either.
    monkeypatch.setattr("mlops.deployment.owners._LOOK_S", 300.0)
    asked.clear()
    assert all_ahead(shop.settings, wheres) == {}
    assert asked == ["a"]


def test_a_number_does_not_prove_whose_it_is(first: Shop, tmp_path: Path) -> None:
    first.ok("stop")
    folder = tmp_path / "alone"
    shared = project(folder, first.environ["MLFLOW_TRACKING_URI"], 3.0)
    alone = Shop(folder, "credit", {"MLOPS_ARTIFACTS_ROOT": str(tmp_path / "store")})
    try:
        assert alone.ok("deploy", "--model", "./model", "--json").document["revision"] == 1
        alone.ok("stop")
        # From now on with the ledger in which revision 1 is another project's.
        refused = shared.run("start", "--json")
        assert (refused.code, f"from `{first.folder}`" in refused.error["message"]) == (7, True)
        assert "rollback" not in refused.error["hint"]
        text, _ = all_ahead(shared.settings, [shared.where])["credit"]
        assert f"revision 1 of `credit` was deployed by {first.ledger.actor.name}" in text
    finally:
        alone.close()


def test_the_folder_of_another_host_is_a_project_only_without_repositories(
    ledger: str, tmp_path: Path
) -> None:
    """Unrelated projects are in `/app` of their containers."""
    job = project(tmp_path / "app", ledger, 1.0)
    check_out(job.folder, "https://git.example/shop/credit.git")
    arm = Arm("a", ModelVersion("credit/1", "credit/1", "/models/1"), 1.0)
    job.ledger.commit(job.ledger.begin(Intent("deploy", DeploymentSpec("credit", (arm,))), 0), 5)
    live = job.ledger.live()
    assert live is not None
    other = replace(live, place=f"pod:{job.settings.home}", repository="git.example/shop/other")
    for asked in (True, False):
        with pytest.raises(ConflictError):
            check_owner(job.settings, job.where, other, force=False, asked=asked)
        unknown = replace(other, repository="")
        said = check_owner(job.settings, job.where, unknown, force=False, asked=asked)
        assert "the same folder of another host" in said


def test_what_a_deleted_folder_deployed_is_not_started(first: Shop, tmp_path: Path) -> None:
    live = first.ledger.live()
    assert live is not None
    place = f"{socket.gethostname()}:{tmp_path / 'deleted' / '.mlops'}"
    later = replace(live, number=2, place=place, repository="git.example/shop/credit")
    with pytest.raises(ConflictError, match="where nothing of it is left") as refused:
        check_owner(first.settings, first.where, later, force=False, asked=False)
    assert "rollback credit --to 1 --force-conflicts" in str(refused.value.hint)
    assert check_owner(first.settings, first.where, later, force=False, asked=True)
    check_out(first.folder, "https://git.example/shop/credit.git")
    assert check_owner(first.settings, first.where, later, force=False, asked=False)


def test_a_stopped_copy_without_a_repository_is_taken_over(first: Shop, second: Shop) -> None:
    """As by the next release folder, or by a project that a test copies."""
    first.ok("stop")
    made = second.ok("deploy", "--model", "./model", "--json").document
    assert (made["revision"], "where it is stopped: it is taken" in made["warnings"][0]) == (
        2,
        True,
    )
    second.ok("stop")
    # Nothing says that it is the same project: what it has is not served unasked.
    assert first.run("start").code == 7


def test_a_name_that_went_to_a_cluster_is_said(first: Shop, second: Shop) -> None:
    place = Place("kubernetes", "kind", "https://127.0.0.1:6443", "shop", {})
    arm = Arm("a", ModelVersion("credit/1", "credit/1", "/models/1"), 1.0)
    spec = DeploymentSpec("credit", (arm,))
    second.ledger.commit(second.ledger.begin(Intent("deploy", spec, place=place), 1), 5)
    text, hint = all_ahead(first.settings, [first.where])["credit"]
    assert "to the target kubernetes" in text
    assert ("--name OTHER" in hint, "rollback" in hint) == (True, False)


def test_the_checkout_of_another_user_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_out(tmp_path, "https://git.example/shop/credit.git")
    # Git's own switch for such a checkout.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert repository_of(tmp_path) == "git.example/shop/credit"
