"""What a test needs beyond Python packages, and what its absence means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require(name: str, available: object, reason: str) -> None:
    """Skip the test if something is missing; fail it where the environment says it must be there.

    `MLOPS_REQUIRE=chromium,docker` names what a machine is known to have, so that a test cannot
    go on being skipped where it was meant to run.
    """
    if available:
        return
    required = {item.strip() for item in os.environ.get("MLOPS_REQUIRE", "").split(",")}
    if name in required:
        pytest.fail(f"MLOPS_REQUIRE names `{name}`, but {reason}.")
    pytest.skip(reason)


def uv_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test find uv, of `MLOPS_TEST_UV` or on the path; skip it where there is none."""
    uv = os.environ.get("MLOPS_TEST_UV") or shutil.which("uv")
    require("uv", uv, "uv is not installed")
    monkeypatch.setenv("PATH", f"{Path(str(uv)).parent}{os.pathsep}{os.environ['PATH']}")
