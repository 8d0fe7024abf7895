"""What a test needs beyond Python packages, and what its absence means."""

from __future__ import annotations

import os

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
