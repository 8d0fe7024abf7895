from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlops.deployment.runtime_files import (
    Places,
    changing,
    deployment_name,
    is_alive,
    make_key,
    make_token,
    pick_name,
    places,
    socket_path,
)
from mlops.errors import ConflictError, NotFoundError
from mlops.settings import Settings, load_settings
from mlops.spec.server import hold_lock
from tests.requirements import require


def project(folder: Path, *deployed: str, name: str = "") -> Settings:
    folder.mkdir(parents=True, exist_ok=True)
    settings = load_settings(folder, {"deploy.name": name or None}, environ={})
    for each in deployed:
        state = places(settings, each).state
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text("{}")
    return settings


@pytest.mark.parametrize(
    ("folder", "deployed", "setting", "given", "picked"),
    [
        ("shop", ["wine"], "", None, "wine"),
        ("shop", ["beer", "wine"], "", "beer", "beer"),
        ("shop", ["beer", "wine"], "wine", None, "wine"),
        ("wine", ["beer", "wine"], "", None, "wine"),
        ("Wine Shop", ["beer", "wine-shop"], "", None, "wine-shop"),
        ("shop", ["beer", "wine-1"], "Wine_1", None, "wine-1"),
    ],
)
def test_the_deployment_that_is_meant(
    tmp_path: Path, folder: str, deployed: list[str], setting: str, given: str | None, picked: str
) -> None:
    assert pick_name(project(tmp_path / folder, *deployed, name=setting), given) == picked


def test_the_deployment_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="Nothing is deployed"):
        pick_name(project(tmp_path / "none"), None)
    two = project(tmp_path / "two", "beer", "wine")
    with pytest.raises(NotFoundError) as caught:
        pick_name(two, None)
    assert caught.value.hint == "Name one of `beer`, `wine`."
    with pytest.raises(NotFoundError) as caught:
        pick_name(two, "wien")
    assert caught.value.hint == "Did you mean `wine`?"


def test_names_are_dns_labels(tmp_path: Path) -> None:
    assert deployment_name(project(tmp_path / "Wine Quality_2")) == "wine-quality-2"
    assert len(deployment_name(project(tmp_path / ("x" * 80)))) == 63
    assert deployment_name(project(tmp_path / "ワイン")) == "project"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def where(tmp_path: Path) -> Places:
    tmp_path.chmod(0o755)
    return Places("wine", tmp_path)


def test_secrets_are_private_and_stay(where: Places) -> None:
    before = os.umask(0)
    try:
        make_key(where)
        make_token(where)
    finally:
        os.umask(before)
    assert mode(where.key) == mode(where.token) == 0o600
    assert len(where.key.read_bytes()) == 32
    key, token = where.key.read_bytes(), where.token.read_text()
    make_key(where)
    make_token(where)
    assert (where.key.read_bytes(), where.token.read_text()) == (key, token)
    assert sorted(path.name for path in where.folder.iterdir()) == ["wine.key", "wine.token"]


def test_the_socket_is_private(
    where: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    path = socket_path(where)
    assert path.parent.parent == runtime
    assert mode(path.parent) == 0o700
    assert path != socket_path(Places("beer", where.folder))
    deep = Places("wine", tmp_path / ("deep" * 20) / ("deeper" * 20))
    assert len(str(socket_path(deep).name)) < 40
    # Another user may have taken the name, or opened what has it.
    path.parent.chmod(0o755)
    another = socket_path(where)
    assert another.parent != path.parent
    assert another.parent.parent == runtime
    assert mode(another.parent) == 0o700
    path.parent.rmdir()
    target = tmp_path / "elsewhere"
    target.mkdir(mode=0o700)
    path.parent.symlink_to(target)
    assert socket_path(where).parent.parent == runtime
    assert not list(target.iterdir())


def test_who_holds_the_lock_lives(where: Places) -> None:
    assert not is_alive(where)
    lock = hold_lock(where.lock)
    assert is_alive(where)
    with pytest.raises(ConflictError):
        hold_lock(where.lock)
    # Handed on to a child it outlives us, and ends with the child however that ends.
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock]
    )
    os.close(lock)
    assert is_alive(where)
    child.kill()
    child.communicate()
    assert not is_alive(where)
    # What is left behind after a crash or a reboot is just a file.
    assert where.lock.exists()
    os.close(hold_lock(where.lock))


_ASK = """
import sys
from pathlib import Path
from mlops.deployment.runtime_files import Places, is_alive
print(is_alive(Places("wine", Path(sys.argv[1]))))
"""


def test_who_may_only_look_sees_who_lives(where: Places) -> None:
    """Two who look at once do not take each other for the server."""
    os.close(hold_lock(where.lock))
    where.lock.chmod(0o444)
    where.folder.chmod(0o555)
    command = [sys.executable, "-c", _ASK, str(where.folder)]
    if os.geteuid() == 0:
        # Permissions are no matter to root with all its capabilities.
        require("setpriv", shutil.which("setpriv"), "permissions do not bind root")
        command = ["setpriv", "--bounding-set=-dac_override", *command]

    def asked() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        with where.lock.open() as other:
            fcntl.flock(other, fcntl.LOCK_SH)
            assert asked() == "False"
        with where.lock.open() as server:
            fcntl.flock(server, fcntl.LOCK_EX)
            assert asked() == "True"
    finally:
        where.folder.chmod(0o755)


def test_one_changes_at_a_time(where: Places) -> None:
    with changing(where):
        with pytest.raises(ConflictError), changing(where, wait_s=0.0):
            pass
        waiter = multiprocessing.get_context("spawn").Process(target=_change, args=(where,))
        waiter.start()
        waiter.join(1.5)
        assert waiter.is_alive()
    waiter.join(180)
    assert waiter.exitcode == 0


def _change(where: Places) -> None:
    with changing(where, wait_s=150):
        pass
