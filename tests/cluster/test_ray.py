"""What a Ray cluster of this machine leaves open."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlops.cluster.ray import connect_ray


class Ray(ModuleType):
    """Writes a token as Ray 2.60 does, if at all, and notes who could read it then."""

    def __init__(self, home: Path, *, writes: bool = True) -> None:
        super().__init__("ray")
        self.writes = writes
        self.token = home / ".ray" / "auth_token"
        self.folder_mode = 0

    def init(self, **_: Any) -> None:
        if not self.writes:
            return
        self.token.parent.mkdir(exist_ok=True)
        self.token.write_text("secret")
        self.folder_mode = self.token.parent.stat().st_mode & 0o777


@pytest.mark.parametrize("was_there", [False, True])
def test_only_the_owner_reads_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ray = Ray(tmp_path)
    if was_there:
        ray.token.parent.mkdir(mode=0o755)
    connect_ray(ray, "")
    assert ray.folder_mode == 0o700
    assert ray.token.stat().st_mode & 0o777 == 0o600


def test_a_client_of_a_cluster_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ray = Ray(tmp_path, writes=False)
    connect_ray(ray, "ray://head:10001")
    assert not ray.token.parent.exists()
    # One that others could read so far.
    ray.token.parent.mkdir()
    ray.token.write_text("secret")
    connect_ray(ray, "ray://head:10001")
    assert ray.token.stat().st_mode & 0o777 == 0o600
