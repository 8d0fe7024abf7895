"""Mistakes that people reported are found, at the place where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.linting.reported_mistakes import hits, mistakes


@pytest.mark.parametrize("mistake", mistakes(), ids=lambda each: each["name"])
def test_a_reported_mistake_is_found(mistake: Mapping[str, Any]) -> None:
    assert hits(mistake)
