"""A runtime is chosen and proved once, and found again by the next process of the same model."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from mlops.protocols.base import Rows
from mlops.runtimes import choosing, kept, onnx_conversion, onnx_session
from mlops.runtimes.base import LoadedModel, OutOfTimeError
from mlops.runtimes.identity import identity_of
from mlops.runtimes.kept import KeptRuntimes
from mlops.runtimes.load import load_model

pytestmark = pytest.mark.filterwarnings("ignore:.*input example:UserWarning")
_FRAME = pd.DataFrame({
    "city": ["Ulm", "Rom", "Oslo", "Ulm"] * 20,
    "age": np.random.default_rng(1).normal(40, 9, 80).round(1),
})  # fmt: skip
_OLD = (_FRAME["age"] > 40).to_numpy()


def _save(path: Path, target: Sequence[bool]) -> Path:
    import mlflow.sklearn
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    cities = OneHotEncoder(handle_unknown="ignore")
    steps = make_column_transformer((cities, ["city"]), (StandardScaler(), ["age"]))
    mlflow.sklearn.save_model(
        make_pipeline(steps, LogisticRegression()).fit(_FRAME, target),
        str(path),
        signature=infer_signature(_FRAME, _OLD),
        input_example=_FRAME.head(2),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    return path


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    """No conversion is given up because the machine is busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_conversion, "_TIMEOUT_S", 600.0)
        patch.setattr(choosing, "_OPEN_S", 600.0)
        patch.setattr(choosing, "_PROOF_S", 600.0)
        yield


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("old") / "model", list(_OLD))


@pytest.fixture(scope="module")
def young(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It says the opposite."""
    return _save(tmp_path_factory.mktemp("young") / "model", list(~_OLD))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, old: Path, young: Path) -> Path:
    """Both in ONNX, which takes seconds to convert."""
    pytest.importorskip("skl2onnx")
    known = KeptRuntimes(tmp_path_factory.mktemp("made") / "known")
    taken = [load_model(model, "onnx", known=known).path_taken for model in (old, young)]
    assert taken == ["onnx", "onnx"]
    return known.folder


@pytest.fixture
def converted(made: Path, tmp_path: Path) -> KeptRuntimes:
    shutil.copytree(made, tmp_path / "converted")
    return KeptRuntimes(tmp_path / "converted")


@pytest.fixture
def known(tmp_path: Path) -> KeptRuntimes:
    return KeptRuntimes(tmp_path / "known")


def _is_cached(loaded: LoadedModel) -> bool:
    assert loaded.proof is not None
    return loaded.proof.cached


def _said(loaded: LoadedModel) -> list[bool]:
    rows = _FRAME.head(20).to_numpy(dtype=object).tolist()
    answer = loaded.model.predict(Rows(rows, ("city", "age")), {})
    assert isinstance(answer, np.ndarray)
    return [bool(each) for each in answer]


def test_a_choice_is_made_once(old: Path, known: KeptRuntimes) -> None:
    first, second = load_model(old, known=known), load_model(old, known=known)
    assert (first.path_taken, second.path_taken) == ("numpy", "numpy")
    assert (_is_cached(first), _is_cached(second)) == (False, True)
    assert first.proof is not None
    assert second.proof is not None
    assert first.proof.made_ms == second.proof.made_ms
    assert first.reasons == second.reasons
    assert _said(first) == _said(second)
    (entry,) = known.entries()
    assert (entry.runtime, entry.model) == ("numpy", str(old))
    assert known.folder.stat().st_mode & 0o777 == 0o700
    # Another one that was asked for is another choice.
    assert load_model(old, "native", known=known).path_taken == "pyfunc"
    assert len(known.entries()) == 2


def test_what_was_converted_is_not_converted_again(
    old: Path, converted: KeptRuntimes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_conversion(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(onnx_session, "convert", no_conversion)
    loaded = load_model(old, "onnx", known=converted)
    assert (loaded.path_taken, _is_cached(loaded)) == ("onnx", True)
    assert _said(loaded) == [bool(each) for each in _OLD[:20]]


def test_of_two_that_start_together_one_converts(
    old: Path, known: KeptRuntimes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    best = choosing._Contest.best
    both = threading.Barrier(2)

    def counted(
        self: choosing._Contest, names: Sequence[str], *, at_any_speed: bool
    ) -> choosing.Choice:
        made.append(names)
        return best(self, names, at_any_speed=at_any_speed)

    def load() -> None:
        both.wait()
        found.append(load_model(old, known=KeptRuntimes(known.folder)))

    monkeypatch.setattr(choosing._Contest, "best", counted)
    found: list[LoadedModel] = []
    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert sorted(map(_is_cached, found)) == [False, True]


def test_another_model_is_another_entry(old: Path, young: Path, known: KeptRuntimes) -> None:
    load_model(old, known=known)
    loaded = load_model(young, known=known)
    assert not _is_cached(loaded)
    assert _said(loaded) == [not each for each in _said(load_model(old, known=known))]


def test_what_an_entry_is_named_after(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identity_of(old, "auto")
    assert identity_of(old, "auto") == before
    (tmp_path / "site" / "treelite-99.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    installed = identity_of(old, "auto")
    # A project's own module may be part of the model.
    source = tmp_path / "features.py"
    source.write_text("FACTOR = 1\n")
    module = ModuleType("features")
    module.__file__ = str(source)
    monkeypatch.setitem(sys.modules, "features", module)
    own = identity_of(old, "auto")
    source.write_text("FACTOR = 2\n")
    assert len({before, installed, own, identity_of(old, "auto")}) == 4


def test_a_damaged_entry_is_made_again(
    old: Path, converted: KeptRuntimes, caplog: pytest.LogCaptureFixture
) -> None:
    (entry,) = (each for each in converted.entries() if each.model == str(old))
    file = next((converted.folder / entry.key).glob("onnx-*"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    again = load_model(old, "onnx", known=converted)
    assert not _is_cached(again)
    assert f"the digest of {file.name} is another" in caplog.text
    assert _is_cached(load_model(old, "onnx", known=converted))


def test_an_entry_that_answers_otherwise_is_made_again(old: Path, converted: KeptRuntimes) -> None:
    folders = {each.model: converted.folder / each.key for each in converted.entries()}
    mine = folders.pop(str(old))
    (other,) = folders.values()
    shutil.copytree(other, mine, dirs_exist_ok=True)
    again = load_model(old, "onnx", known=converted)
    assert not _is_cached(again)
    assert _said(again) == [bool(each) for each in _OLD[:20]]


def test_a_folder_that_others_may_write_is_not_used(
    old: Path, known: KeptRuntimes, caplog: pytest.LogCaptureFixture
) -> None:
    load_model(old, known=known)
    known.folder.chmod(0o770)
    assert not _is_cached(load_model(old, known=known))
    assert "is accessible to other users" in caplog.text


def test_where_nothing_can_be_written_models_load_all_the_same(old: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("no folder")
    assert not _is_cached(load_model(old, known=KeptRuntimes(tmp_path / "known")))


def test_what_was_left_out_for_want_of_time_is_tried_the_next_time(
    old: Path, known: KeptRuntimes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> None:
        raise OutOfTimeError("it was not ready after 40 s")

    with monkeypatch.context() as patch:
        patch.setattr(choosing, "_opened", slow)
        assert load_model(old, known=known).path_taken == "pyfunc"
    assert known.entries() == []
    assert load_model(old, known=known).path_taken == "numpy"


def test_the_least_recently_used_go_first(
    old: Path, known: KeptRuntimes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST", 2)
    for name in ("auto", "native", "trees"):
        load_model(old, name, known=known)
    assert len(known.entries()) == 2
    assert known.clear(dry_run=True) == known.entries() != []
    known.clear()
    assert known.entries() == []
    assert not [each for each in known.folder.iterdir() if each.is_dir()]
