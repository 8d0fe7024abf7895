from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.training.command import all_values
from mlops.training.parameter_types import Parameter
from mlops.training.parameters import assign
from mlops.training.project import EntryPoint

ENTRY = EntryPoint(
    "main",
    {
        p.name: p
        for p in (
            Parameter("alpha", "float"),
            Parameter("l1_ratio", "float", 0.1),
            Parameter("depth", "int", 3),
            Parameter("fast", "bool", False),
            Parameter("data", "path", "train.csv"),
            Parameter("source", "uri", "s3://bucket/x"),
            Parameter("word", "string", "x"),
            Parameter("odd", "number", "x"),
        )
    },
)


def test_returns_what_was_given_and_fills_defaults_beside_it() -> None:
    given = assign(ENTRY, ["alpha=0.5", "word=a=b c"]).given
    assert given == {"alpha": "0.5", "word": "a=b c"}
    assert all_values(ENTRY, given)["l1_ratio"] == "0.1"
    assert all_values(ENTRY, given)["word"] == "a=b c"


def test_names_all_faults_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        assign(ENTRY, ["alhpa=1", "l1_ratio=high", "bla", "depth=3", "depth=4", "=x"])
    message = caught.value.message
    assert "`alhpa` is not a parameter. Did you mean `alpha`?" in message
    assert "`alpha` (float) is missing" in message
    assert "`l1_ratio` must be a number, not `high`" in message
    assert "`bla` is not of the form name=value" in message
    assert "`=x` is not of the form name=value" in message
    assert "`depth` is given twice" in message
    assert (caught.value.hint or "").startswith("mlops train -P alpha=FLOAT [-P l1_ratio=FLOAT]")


@pytest.mark.parametrize(
    ("word", "good"),
    [
        ("alpha=1e-3", True),
        ("alpha=-2", True),
        ("alpha=", False),
        ("alpha=0,x", False),
        ("depth=12", True),
        ("depth=1.5", False),
        ("fast=TRUE", True),
        ("fast=yes", False),
        ("data=s3://bucket/rows.csv", True),
        ("data=no/such/file", False),
        ("source=gs://bucket/x", True),
        ("source=bucket/x", False),
        ("odd=anything", True),
    ],
)
def test_checks_types(word: str, good: bool) -> None:
    words = [word] if word.startswith("alpha") else ["alpha=1", word]
    if good:
        assert assign(ENTRY, words).given
    else:
        with pytest.raises(InvalidInputError, match="must be"):
            assign(ENTRY, words)


def test_a_path_may_be_a_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").touch()
    assert assign(ENTRY, ["alpha=1", "data=rows.csv"]).given["data"] == "rows.csv"


def test_a_bare_script_takes_anything() -> None:
    assert assign(EntryPoint("x.py", {}, any_parameter=True), ["a=1"]).given == {"a": "1"}


def test_a_text_that_looks_like_several_values_is_noted() -> None:
    (note,) = assign(ENTRY, ["alpha=1", "word=popular,personal"]).notes
    assert note == (
        "`word=popular,personal` is one value: a comma makes no sweep for a parameter of type "
        "string; `--grid word=popular,personal` does"
    )


@pytest.mark.parametrize("word", ["word=one", "word=a, b", "word=[1,2]", "word=,", "alpha=0.1,0.5"])
def test_other_values_get_no_note(word: str) -> None:
    assert assign(ENTRY, [word] if word.startswith("alpha") else ["alpha=1", word]).notes == ()


def test_a_grid_gets_no_note() -> None:
    assert assign(ENTRY, ["alpha=1"], ["word=popular,personal"]).notes == ()
