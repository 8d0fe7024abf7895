"""What the files of a model say where they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.registry.details import read_model_file
from mlops.settings import load_settings
from mlops.spec.deployment import Arm
from mlops.spec.model import ModelVersion
from mlops.stats.outlier_document import OUTLIER_FILE
from mlops.workflows.outliers import detector_of


@pytest.mark.parametrize("source", ["{folder}", "file://{folder}"])
def test_a_file_that_is_not_utf_8(tmp_path: Path, source: str) -> None:
    (tmp_path / "MLmodel").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match=r"MLmodel` is damaged: .* can't decode byte 0xff"):
        read_model_file(source.format(folder=tmp_path), "MLmodel")


def test_a_detector_that_is_not_utf_8(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    arm = Arm("wine", ModelVersion("wine", "wine/1", str(tmp_path), name="wine", version=1), 1.0)
    assert detector_of(settings, arm) is None
    (tmp_path / OUTLIER_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match=f"`{OUTLIER_FILE}` cannot be read"):
        detector_of(settings, arm)
