"""What `docs/security.md` says is tested has that test."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_attack_has_its_test() -> None:
    rows = [
        line
        for line in (_ROOT / "docs" / "security.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and "`tests/" in line
    ]
    assert len(rows) >= 28
    for row in rows:
        for file, name in _NAMED.findall(row):
            text = (_ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), (file, name)
