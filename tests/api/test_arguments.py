"""What Python users give: arguments that are checked, errors that name them, short records."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import mlops
from mlops.api.phases import on_phase
from mlops.errors import MlopsError, UsageError
from mlops.training.sweep import SweepResult
from tests.fixtures_deployment import open_shop
from tests.fixtures_training import TrainedWine


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"ab": ("small", "large", "xgb")}, "`ab` takes two models, not 3 of them.", "arms="),
        ({"ab": "small"}, "`ab` takes two models, not `'small'`.", 'ab=("modelA", "modelB")'),
        ({"arms": "old=shop/1"}, "`arms` takes a list", "Write `arms=['old=shop/1']`."),
        ({"model": "a", "shadows": "b=5"}, "`shadows` takes a list", "Write `shadows=['b=5']`."),
        ({"arms": ["a=x/1:90", "b=x/2:20"]}, "sum to 110, not 100", "percentages"),
        ({}, "Say which models", '`ab=("REF", "REF")`, `model="REF"`'),
        ({"ab": ("a", "b"), "canary": "c=1"}, '`canary` goes with `model="REF"`', ""),
        ({"ab": ("a", "b"), "split": "1/2/3"}, "not a split", '`split="90/10"`'),
    ],
    ids=str,
)
def test_what_deploy_refuses(
    tmp_path: Path, given: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        mlops.deploy(project=tmp_path, **given)
    assert message in caught.value.message
    assert str(caught.value) == caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (
            {"parameters": {"alpha": [0.1, 1]}, "alias": "best"},
            "sweep=mlops.SweepOptions(best=True",
        ),
        (
            {"parameters": {"alpha": [0.1, 1]}, "sweep": mlops.SweepOptions(best=True)},
            'SweepOptions(metric="METRIC"',
        ),
        (
            {"parameters": {"alpha": 1}, "sweep": mlops.SweepOptions(trials=3)},
            'parameters={"alpha": [0.1, 0.5]}',
        ),
        ({"no_register": True, "alias": "best"}, ""),
    ],
)
def test_an_error_of_a_training_names_arguments(
    trained_wine: TrainedWine, given: dict[str, Any], hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        mlops.train(trained_wine.folder, **given)
    said = f"{caught.value.message} {caught.value.hint}"
    assert hint in said
    assert "--" not in said


def test_the_records_are_short_and_phases_are_told(
    trained_wine: TrainedWine, tmp_path: Path
) -> None:
    opened = open_shop(trained_wine, tmp_path / "wine")
    try:
        phases: list[str] = []
        deployed = mlops.deploy(
            ab=("modelA", "modelB"), project=opened.folder, progress=phases.append
        )
        assert len(phases) > 1
        moved = mlops.promote(project=opened.folder, arm="modelA", force="a test")
        for record, part in [
            (deployed, "Deployed(name='wine', revision=1, arms=['modelA', 'modelB'], url='http"),
            (deployed.plan, "Plan(kind='create', name='wine'"),
            (moved, "Moved(name='wine', action='promote', changed=True, revision=2, replaced=1"),
            (mlops.history(project=opened.folder)[0], "Entry(number=2, action='promote', state="),
        ]:
            assert part in repr(record)
            assert len(repr(record)) < 300
        with pytest.raises(MlopsError) as caught:
            mlops.rollback(project=opened.folder, to=99)
        assert any("before 2: 1" in note for note in caught.value.__notes__)
        said = opened.ok("deploy", "--ab", "modelA", "modelB", "--json").document
        assert said["notes"] == {"modelA": [], "modelB": []}
    finally:
        opened.close()


def test_phases_are_printed_where_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_phase(None)("in a script")
    assert not capsys.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    on_phase(None)("at a terminal")
    assert screen.getvalue() == "at a terminal\n"


def test_what_is_public_is_offered() -> None:
    public = {name for name in dir(mlops) if not name.startswith("_")}
    assert public == {name for name in mlops.__all__ if not name.startswith("_")}
    assert mlops.errors.MlopsError is MlopsError
    assert mlops.__doc__
    for name in public:
        assert name in mlops.__doc__
        assert "See the module" not in (getattr(mlops, name).__doc__ or "")


def test_a_sweep_says_which_trial_ended(trained_wine: TrainedWine, tmp_path: Path) -> None:
    opened = open_shop(trained_wine, tmp_path / "wine")
    phases: list[str] = []
    found = mlops.train(
        opened.folder,
        parameters={"alpha": [0.1, 1]},
        sweep=mlops.SweepOptions(best=True, metric="rmse"),
        alias="best",
        progress=phases.append,
    )
    assert isinstance(found, SweepResult)
    assert found.best is not None
    assert found.alias == "best"
    assert len(repr(found)) < 300
    assert [phase for phase in phases if phase.startswith("trial ")] == [
        f"trial {trial.number} {trial.name}: complete" for trial in found.trials
    ]
