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
    assert f"still has the {name} before; mend the file before a restart" in warning
