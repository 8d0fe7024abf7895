from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlops.deployment.runtime_files import is_alive
from mlops.spec.server import Holder, hold_lock, write_holder
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop
from tests.waiting import wait_until

_HEAVY = ("mlflow", "pandas", "sklearn", "scipy", "sqlalchemy")


def test_status_tells_what_each_arm_did(shop: Shop) -> None:
    def requests() -> int:
        document = shop.ok("status", "wine", "--json").document
        fits("status", document)
        (found,) = document["deployments"]
        assert (found["state"], found["pid"]) == ("running", shop.state.pid)
        assert [arm["name"] for arm in found["arms"]] == ["modelA", "modelB"]
        return sum(int(arm["requests"]) for arm in found["arms"])

    before = requests()
    for _ in range(3):
        shop.ask()
    assert requests() == before + 3
    text = shop.ok("status").out
    assert "wine running  started " in text
    assert shop.state.url in text


def test_logs(shop: Shop) -> None:
    everything = shop.ok("logs", "-n", "1000").out
    assert "serving wine at" in everything
    assert shop.ok("logs", "-n", "2").out == "".join(everything.splitlines(True)[-2:])
    assert shop.ok("logs", "-n", "0").out == ""


def test_logs_can_be_followed(shop: Shop) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops", "logs", "-n", "0", "--follow"],
        cwd=shop.folder,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.2):
            with shop.where.log.open("a") as log:
                log.write("something new\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert process.stdout.readline() == "something new\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    finally:
        done.set()
        writer.join()
        process.kill()
        process.communicate()


def test_a_server_of_another_version_is_called_that(tmp_path: Path) -> None:
    """It lives, and neither its file nor its socket says anything in our words."""
    shop = Shop(tmp_path)
    shop.where.folder.mkdir(parents=True)
    lock = hold_lock(shop.where.lock)
    write_holder(shop.where.lock, Holder(4711, str(tmp_path / "no.sock")))
    try:
        for said in ({"schema_version": 9}, {"schema_version": 1, "server": {"port": 8080}}):
            shop.where.state.write_text(json.dumps(said))
            (found,) = shop.ok("status", "--json").document["deployments"]
            assert (found["state"], found["pid"]) == ("unresponsive", 4711)
            assert "was written by another version of mlops" in found["warnings"][0]
            refused = shop.run("stop", "wine", "--json")
            assert refused.code == 7
            assert "another version" in refused.error["message"]
            assert "`kill 4711`" in refused.error["hint"]
    finally:
        os.close(lock)


def test_a_server_that_has_not_been_ready_yet_is_starting(tmp_path: Path) -> None:
    """As after an interrupted first deploy: it lives, and writes its state once it is ready."""
    shop = Shop(tmp_path)
    shop.where.folder.mkdir(parents=True)
    lock = hold_lock(shop.where.lock)
    write_holder(shop.where.lock, Holder(4711, str(tmp_path / "no.sock")))
    try:
        (found,) = shop.ok("status", "--json").document["deployments"]
        assert (found["state"], found["pid"], found["warnings"]) == ("starting", 4711, [])
        assert "wine starting" in shop.ok("status").out
        assert shop.run("status", "--exit-code").code == 11
    finally:
        os.close(lock)


def test_after_a_crash_and_after_a_reboot(wine_shop: Shop) -> None:
    wine_shop.ok("deploy", "--model", "wine/1")
    url = wine_shop.state.url
    wine_shop.kill()
    (found,) = wine_shop.ok("status", "--json").document["deployments"]
    assert (found["state"], found["pid"], found["url"]) == ("crashed", 0, url)
    assert "mlops logs wine" in wine_shop.ok("status").out
    assert "serving wine" in wine_shop.ok("logs").out
    for words in (("feedback",), ("predict", "--data", "data/customers.csv")):
        said = wine_shop.run(*words, "--json")
        assert said.code == 5
        assert "does not run" in said.error["message"]
    assert wine_shop.run("report").code == 0
    # A reboot gives the process's number to somebody else; that one is left alone.
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        text = wine_shop.where.state.read_text()
        document = json.loads(text)
        document["pid"] = bystander.pid
        wine_shop.where.state.write_text(json.dumps(document))
        assert wine_shop.ok("stop", "--json").document["stopped"] is False
        assert wine_shop.ok("status", "--json").document["deployments"][0]["state"] == "crashed"
        assert bystander.poll() is None
        again = wine_shop.ok("deploy", "--model", "wine/1", "--json").document
        assert (again["change"], again["revision"], again["url"]) == ("start", 1, url)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()
    wine_shop.ok("stop")
    assert not is_alive(wine_shop.where)
    assert wine_shop.ok("status", "--json").document["deployments"][0]["state"] == "stopped"
    _nothing_is_replaced_silently(wine_shop)


def _nothing_is_replaced_silently(shop: Shop) -> None:
    """A key or a journal that is lost is an error that says what follows."""
    journal = shop.folder / ".mlops" / "journal" / "wine.db"
    again = ("deploy", "--model", "wine/1", "--dry-run", "--json")
    for lost, option, follows in (
        (shop.where.key, "--new-key", "refused as invalid"),
        (journal, "--new-journal", "All evidence"),
    ):
        aside = lost.with_suffix(".aside")
        lost.rename(aside)
        # With what the server last said of itself, and with the ledger alone.
        state = shop.where.state.read_bytes()
        for remove in (False, True):
            if remove:
                shop.where.state.unlink()
            said = shop.run(*again)
            assert said.code == 3
            assert follows in said.error["message"]
            assert option in said.error["hint"]
            assert not lost.exists()
        assert shop.run(*again, option).code == 0
        shop.where.state.write_bytes(state)
        aside.rename(lost)
    assert shop.run(*again).code == 0


def test_a_server_is_found_without_its_file(shop: Shop) -> None:
    state, other = shop.where.state, shop.where.folder / "other.json"
    before = shop.state
    other.write_text("{")
    try:
        for damage in (state.unlink, lambda: state.write_text("{"), lambda: state.write_text("[]")):
            damage()
            found = shop.ok("status", "--json").document["deployments"]
            assert [(each["name"], each["state"]) for each in found] == [
                ("other", "unknown"),
                ("wine", "running"),
            ]
            assert (found[1]["pid"], found[1]["url"]) == (before.pid, before.url)
            # It has written its file again.
            assert shop.state == before
        assert "mlops deploy" in found[0]["warnings"][0]
        assert "other" in shop.ok("status").out
        state.unlink()
        again = shop.ok("deploy", "--ab", "modelA", "modelB", "--name", "wine", "--json").document
        assert again["change"] == "nothing"
        assert shop.ok("logs", "wine").out
    finally:
        other.unlink()


def test_a_server_that_does_not_answer(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.client.connection._ALIVE_S", 0.5)
    monkeypatch.setattr("mlops.deployment.admin_client._STATUS_TIMEOUT_S", 0.5)
    os.kill(shop.state.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        (found,) = shop.ok("status", "--json").document["deployments"]
        assert found["state"] == "unresponsive"
        assert time.monotonic() - started < 60
        # Nor do commands that would have it load something wait for it in silence.
        promote = ("promote", "--arm", "modelB", "--force", "a test", "--json")
        for words in (("deploy", "--ab", "modelA", "modelB", "--json"), promote):
            started = time.monotonic()
            said = shop.run(*words)
            assert (said.code, said.error["code"]) == (6, "remote"), said.out
            assert f"kill -9 {shop.state.pid}" in said.error["hint"]
            assert time.monotonic() - started < 120
        rows = ("--data", str(shop.folder / "data" / "customers.csv"))
        for asking in (("predict", *rows), ("feedback", *rows, "--truth-column", "quality")):
            said = shop.run(*asking, "--json")
            assert said.code == 6, said.out
            assert "does not answer within 0.5 s" in said.error["message"]
    finally:
        os.kill(shop.state.pid, signal.SIGCONT)

    def runs() -> bool:
        (found,) = shop.ok("status", "--json").document["deployments"]
        return bool(found["state"] == "running")

    wait_until(runs)


def test_several_deployments_have_to_be_named(wine_shop: Shop) -> None:
    wine_shop.ok("deploy", "--model", "wine/1", "--name", "white")
    # Another that ran once.
    state = Shop(wine_shop.folder, "white").where.state
    state.with_stem("red").write_text(state.read_text())
    said = wine_shop.run("report", "--json")
    assert said.code == 5
    assert "`red`, `white`" in said.error["hint"]
    with state.with_name("red.lock").open("w") as lock:
        # As its server holds it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = wine_shop.run("stop", "--json")
        assert said.code == 2
        assert "`red`, `white`" in said.error["message"]
    assert wine_shop.run("stop", "whit", "--json").error["hint"] == "Did you mean `white`?"
    # The only one that runs needs no name.
    assert wine_shop.ok("stop", "--json").document == {
        "schema_version": 1,
        "name": "white",
        "stopped": True,
        "running": [],
    }
    names = [each["name"] for each in wine_shop.ok("status", "--json").document["deployments"]]
    assert names == ["red", "white"]
    # The settings name one.
    chosen = Shop(wine_shop.folder, "red", environ={"MLOPS_DEPLOY_NAME": "red"})
    assert chosen.ok("stop", "--json").document["stopped"] is False


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "--help"),
        ("status",),
        ("logs",),
        ("predict", "--data", "data/customers.csv"),
        ("feedback", "--once", "--limit", "3"),
        ("stop", "nowhere"),
    ],
    ids=lambda words: words[0],
)
def test_what_answers_at_once_imports_nothing_heavy(shop: Shop, words: tuple[str, ...]) -> None:
    code = (
        "import sys; from mlops.__main__ import run; code = run(sys.argv[1:]);"
        f"heavy = [name for name in {_HEAVY} if name in sys.modules];"
        "print(code, *heavy, file=sys.stderr)"
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=shop.folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == ("5" if words == ("stop", "nowhere") else "0")
