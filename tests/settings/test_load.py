from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.settings import list_settings, load_settings

URI = "tracking.uri"


def test_flag_over_own_variable_over_the_tools_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "mlops.toml"
    environ: dict[str, str] = {}
    flags: dict[str, str] = {}

    def seen() -> tuple[str, str]:
        settings = load_settings(tmp_path, flags=flags, environ=environ)
        return settings.tracking.uri, settings.origins[URI]

    assert seen() == ("", "default")
    file.write_text('[tracking]\nuri = "http://file"\n')
    assert seen() == ("http://file", str(file))
    environ["MLFLOW_TRACKING_URI"] = "http://tool"
    assert seen() == ("http://tool", "environment: MLFLOW_TRACKING_URI")
    environ["MLOPS_TRACKING_URI"] = "http://own"
    assert seen() == ("http://own", "environment: MLOPS_TRACKING_URI")
    flags[URI] = "http://flag"
    assert seen() == ("http://flag", "command line")


def test_pyproject_holds_the_same_tables(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.mlops.report]\nalpha = 0.1\n")
    settings = load_settings(tmp_path, environ={})
    assert settings.report.alpha == 0.1
    assert settings.origins["report.alpha"] == str(tmp_path / "pyproject.toml")


def test_the_project_is_the_nearest_folder_upwards(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert load_settings(inner, environ={}).project_dir == inner
    (tmp_path / "a" / "MLproject").touch()
    assert load_settings(inner, environ={}).project_dir == tmp_path / "a"
    (tmp_path / "mlops.toml").touch()
    assert load_settings(inner, environ={}).project_dir == tmp_path


def test_all_faults_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text(
        "# a comment\n[feedbck]\n\n[report]\nalhpa = 0.1\nalpha = 2\n\n[deploy]\nport = 'x'\n"
    )
    with pytest.raises(InvalidInputError) as caught:
        load_settings(tmp_path, environ={"MLOPS_FEEDBACK_DRAWS": "-1"})
    lines = caught.value.message.splitlines()
    file = tmp_path / "mlops.toml"
    assert f"{file}:2: unknown section `feedbck`. Did you mean `feedback`?" in lines
    assert f"{file}:5: unknown key of [report] `alhpa`. Did you mean `alpha`?" in lines
    assert f"{file}: `report.alpha` must be between 0 and 1, not `2`" in lines
    assert f"{file}: `deploy.port` must be a whole number, not `x`" in lines
    assert (
        "environment: MLOPS_FEEDBACK_DRAWS: `feedback.draws` must not be negative, not `-1`"
        in lines
    )


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("[")
    with pytest.raises(InvalidInputError, match=r"mlops\.toml"):
        load_settings(tmp_path, environ={})


@pytest.mark.parametrize(
    ("mlproject", "name"),
    [
        (None, "my-folder"),
        ("name: wine", "wine"),
        ("name: 'a b/c'", "a-b-c"),
        ("name:", "my-folder"),
        ("- no mapping", "my-folder"),
    ],
)
def test_the_projects_name(tmp_path: Path, mlproject: str | None, name: str) -> None:
    folder = tmp_path / "my folder"
    folder.mkdir()
    if mlproject is not None:
        (folder / "MLproject").write_text(mlproject)
    assert load_settings(folder, environ={}).project_name == name


def test_a_damaged_mlproject_is_named(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text("name: [")
    with pytest.raises(InvalidInputError, match="MLproject"):
        _ = load_settings(tmp_path, environ={}).project_name


def test_every_setting_is_listed_with_its_meaning(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    lines = list_settings(settings)
    assert [line.key for line in lines] == list(settings.origins)
    assert all(line.meaning for line in lines)


def test_the_projects_own_state_is_hidden_from_git(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    assert settings.make_home() == settings.make_home() == tmp_path / ".mlops"
    assert (tmp_path / ".mlops" / ".gitignore").read_text() == "*\n"
