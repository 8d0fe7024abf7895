from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mlops.training.parameter_types import Parameter
from mlops.training.project import EntryPoint
from mlops.training.provenance import data as module
from mlops.training.provenance.data import DataFile, data_files, data_input

POINT = EntryPoint(
    "main",
    {name: Parameter(name, kind) for name, kind in (("p", "path"), ("u", "uri"), ("s", "string"))},
)


def files(folder: Path, **values: str) -> dict[str, DataFile]:
    return {file.name: file for file in data_files(POINT, values, folder)}


def test_files_of_path_and_uri_parameters_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"a,b\n1,2\n")
    uri = (tmp_path / "data.csv").as_uri()
    found = files(tmp_path, p="data.csv", u=uri, s="data.csv")
    assert set(found) == {"p", "u"}
    for file in found.values():
        assert file.path == tmp_path / "data.csv"
        assert file.sha256 == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    logged = data_input(found["p"])
    assert (logged.dataset.name, logged.dataset.digest) == ("p", found["p"].sha256[:32])
    assert json.loads(logged.dataset.source) == {"uri": str(tmp_path / "data.csv")}
    assert json.loads(logged.dataset.profile)["size_bytes"] == 8


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("s3://key:secret@bucket/data.csv", "it is not on this machine"),
        (".", "it is a folder"),
        ("missing.csv", "No such file or directory"),
        ("large.csv", "it is too large"),
    ],
)
def test_what_is_not_read_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    (tmp_path / "large.csv").write_bytes(b"x" * 11)
    file = files(tmp_path, p=value)["p"]
    assert (file.why_unread, file.digest) == (reason, "")
    assert "secret" not in file.source
