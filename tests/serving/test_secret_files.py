"""What an operator is told of files that only a restart reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.serving.secret_files import Secrets
from tests.serving.server import KEY, make_launch, served

_TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("key", KEY[:-1], "has 31 bytes, not 32"),
        ("key", b"", "has 0 bytes, not 32"),
        ("key", None, "cannot be read: Is a directory"),
        ("token", b"short", "is too short"),
        ("token", None, "cannot be read: Is a directory"),
    ],
)
def test_a_file_that_a_restart_cannot_use_is_named(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    launch = make_launch(tmp_path, served({}), token=_TOKEN)
    secrets = Secrets.of(launch)
    assert secrets.warnings(launch) == []
    file = tmp_path / name
    file.unlink()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    (warning,) = secrets.warnings(launch)
    assert f"`{file}`" in warning
    assert reason in warning
    assert f"keeps using the previous {name} until it is restarted; mend the file" in warning


def test_a_file_that_is_gone_fails_a_restart_or_makes_another_token(tmp_path: Path) -> None:
    launch = make_launch(tmp_path, served({}), token=_TOKEN)
    secrets = Secrets.of(launch)
    for name in ("key", "token"):
        (tmp_path / name).unlink()
    key, token = secrets.warnings(launch)
    assert "the file of the key, is gone. This server still has the key; put" in key
    assert "before a restart, which fails without" in key
    assert "makes another one: callers with this one are refused then" in token


def test_a_file_whose_presence_is_not_known_is_named(tmp_path: Path) -> None:
    """As where a folder may not be searched; here the path leads back to itself."""
    launch = make_launch(tmp_path, served({}), token=_TOKEN)
    secrets = Secrets.of(launch)
    for name in ("key", "token"):
        (tmp_path / name).unlink()
        (tmp_path / name).symlink_to(name)
    for warning in secrets.warnings(launch):
        assert "cannot be read: Too many levels of symbolic links" in warning
    assert len(secrets.warnings(launch)) == 2
