"""What a Ray cluster of this machine leaves open."""

from __future__ import annotations

from pathlib import Path

from mlops.cluster.ray import hide_token


def test_only_the_owner_reads_the_token(tmp_path: Path) -> None:
    hide_token(tmp_path)
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    hide_token(tmp_path)
    assert token.stat().st_mode & 0o777 == 0o600
