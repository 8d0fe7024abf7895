"""How models travel to the nodes of a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mlops.scoring import ray


@dataclass(frozen=True)
class _Model:
    folder: Path


def test_a_packed_model_keeps_its_programs_and_what_links_lead_to(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "bin").mkdir(parents=True)
    program = model / "bin/run.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/words.txt").write_text("a b")
    (model / "shared").symlink_to(tmp_path / "shared")
    (model / "gone").symlink_to(tmp_path / "nowhere")
    content = ray._packed(cast("Any", [_Model(model)]))
    (tmp_path / "node").mkdir()
    ray._extract(content, tmp_path / "node")
    arrived = tmp_path / "node/0"
    assert os.access(arrived / "bin/run.sh", os.X_OK)
    assert (arrived / "shared/words.txt").read_text() == "a b"
    assert not os.access(arrived / "shared/words.txt", os.X_OK)
    assert sorted(each.name for each in arrived.iterdir()) == ["bin", "shared"]
