"""What passes between the command line and a server: written whole, read whole or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import InvalidInputError, MlopsError
from mlops.spec.deployment import Arm, DeploymentSpec, Revision
from mlops.spec.model import ModelVersion
from mlops.spec.server import (
    Launch,
    Served,
    ServerState,
    read_launch,
    read_state,
    served_from_dict,
    served_to_dict,
    write_launch,
    write_state,
)

SERVED = Served(
    Revision(3, DeploymentSpec("wine", (Arm("a", ModelVersion("a", "a/1", "/a"), 1.0),))), ("/a",)
)
LAUNCH = Launch(
    name="wine",
    served=SERVED,
    host="127.0.0.1",
    port=8080,
    journal_url="sqlite:////j.db",
    features=("alcohol", "pH"),
    state_file="/s",
    lock_file="/l",
    key_file="/k",
    token_file="",
    socket="/a.sock",
    log_file="",
)
STATE = ServerState(
    launch=LAUNCH,
    pid=7,
    started_ms=5,
    stopped_ms=None,
    notes=(("one", "two"), ()),
    request={"dataframe_split": {"data": [[1]]}},
)


def test_a_launch_comes_back(tmp_path: Path) -> None:
    for launch in (LAUNCH, replace(LAUNCH, features="all")):
        write_launch(launch, tmp_path / "new" / "launch.json")
        assert read_launch(tmp_path / "new" / "launch.json") == launch


def test_a_state_comes_back_and_leaves_no_draft(tmp_path: Path) -> None:
    for state in (STATE, replace(STATE, stopped_ms=9, request=None)):
        write_state(state, tmp_path / "state.json")
        assert read_state(tmp_path / "state.json") == state
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    # Nor does one that cannot be written, as on a full disk.
    (tmp_path / "state.json").unlink()
    (tmp_path / "state.json" / "in the way").mkdir(parents=True)
    with pytest.raises(MlopsError, match="cannot be written"):
        write_state(state, tmp_path / "state.json")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"launch": {}}', "\ud800"])
def test_broken_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (read_launch, read_state):
        with pytest.raises(InvalidInputError) as caught:
            read(path)
        assert str(path) in caught.value.message


@pytest.mark.parametrize("key", ["served", "features", "port", "socket"])
def test_a_launch_that_lacks_something_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "launch.json"
    write_launch(LAUNCH, path)
    document = json.loads(path.read_text())
    del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match=key):
        read_launch(path)


def test_what_a_later_version_says_beside_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_state(STATE, path)
    document = json.loads(path.read_text())
    document["launch"]["warp"] = 9
    path.write_text(json.dumps(document))
    assert read_state(path) == STATE


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for read in (read_launch, read_state):
        with pytest.raises(InvalidInputError):
            read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "changes", [{"paths": []}, {"paths": 7}, {"number": "x"}, {"spec": []}, {"spec": {}}]
)
def test_a_broken_revision_is_refused(changes: dict[str, Any]) -> None:
    assert served_from_dict(served_to_dict(SERVED)) == SERVED
    with pytest.raises(InvalidInputError):
        served_from_dict({**served_to_dict(SERVED), **changes})


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("wine.example", "http://wine.example:8080"),
    ],
)
def test_the_url_is_for_callers_on_this_machine(host: str, url: str) -> None:
    assert replace(STATE, launch=replace(LAUNCH, host=host)).url == url
