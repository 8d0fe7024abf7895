import shutil
import subprocess
from pathlib import Path

import pytest

from mlops.errors import InvalidInputError, MlopsError, NotFoundError
from mlops.training.checkout import local_copy
from mlops.training.parameter_types import Parameter
from mlops.training.project import read_project
from tests.training.projects import write_project


def _read(folder: Path, text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_project(write_project(folder, "", text))
    return caught.value.message


def test_reads_names_types_and_defaults(tmp_path: Path) -> None:
    text = """
name: my project
python_env: env.yaml
entry_points:
  main:
    parameters:
      alpha: float
      path: {type: path, default: data.csv}
      depth: {default: 3}
    command: "python script.py"
"""
    (tmp_path / "env.yaml").write_text("python: '3.11'\n")
    project = read_project(write_project(tmp_path, "", text))
    assert project.name == "my-project"
    assert project.environment == "python_env"
    assert project.environment_file == tmp_path / "env.yaml"
    assert dict(project.entry_point("main").parameters) == {
        "alpha": Parameter("alpha", "float"),
        "path": Parameter("path", "path", "data.csv"),
        "depth": Parameter("depth", "string", 3),
    }


def test_names_every_fault_of_the_file(tmp_path: Path) -> None:
    message = _read(
        tmp_path,
        """
name: x
entry_pionts: {}
python_env: nowhere.yaml
conda_env: conda.yaml
entry_points:
  main: {parameters: [alpha]}
  other: {command: "x", parameters: {alpha: [1], beta: {default: [1]}}}
""",
    )
    assert "unknown key `entry_pionts`. Did you mean `entry_points`?" in message
    assert "only one of `python_env` and `conda_env`" in message
    assert "`python_env` names `nowhere.yaml`, which does not exist" in message
    assert "entry point `main` needs a `command`" in message
    assert "parameter `alpha` must be a type" in message
    assert "default of parameter `beta` must be a single value" in message
    assert message.count(str(tmp_path / "MLproject")) == 6


@pytest.mark.parametrize("text", ["[", "just text", "- a\n- b", ""])
def test_refuses_what_is_no_mapping(tmp_path: Path, text: str) -> None:
    assert "MLproject" in _read(tmp_path, text)


def test_a_folder_without_mlproject_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        read_project(tmp_path)
    assert "mlops init" in (caught.value.hint or "")


def test_an_unknown_entry_point_names_the_closest(tmp_path: Path) -> None:
    project = read_project(write_project(tmp_path, ""))
    with pytest.raises(NotFoundError) as caught:
        project.entry_point("mian")
    assert caught.value.hint == "Did you mean `main`?"


def test_a_script_of_the_folder_is_an_entry_point(tmp_path: Path) -> None:
    project = read_project(write_project(tmp_path, ""))
    assert project.entry_point("script.py").any_parameter
    with pytest.raises(NotFoundError):
        project.entry_point("missing.py")


def test_a_folder_that_does_not_exist_is_no_git_uri() -> None:
    with pytest.raises(NotFoundError), local_copy("examples/wine"):
        pass


def test_a_project_in_git_is_fetched_and_removed(tmp_path: Path) -> None:
    repository = write_project(tmp_path / "repository" / "inner", "").parent
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=repository, check=True)
    with local_copy(f"file://{repository}/.git#inner") as folder:
        assert read_project(folder).name == "tiny"
        assert folder != repository / "inner"
    assert not folder.exists()
    assert (repository / "inner" / "MLproject").exists()
    with pytest.raises(NotFoundError), local_copy(f"file://{repository}/.git#outer"):
        pass


def test_a_repository_that_cannot_be_fetched_is_named_without_its_password() -> None:
    uri = "https://ann:hunter2@127.0.0.1:1/nothing.git"
    match = r"https://127\.0\.0\.1:1/nothing\.git"
    with pytest.raises(MlopsError, match=match) as caught, local_copy(uri):
        pass
    assert "hunter2" not in caught.value.message


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", "")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    with local_copy(packed) as unpacked:
        assert read_project(unpacked).name == "tiny"
    assert not unpacked.exists()
    assert Path(packed).exists()
    (tmp_path / "broken.zip").write_text("no zip")
    with pytest.raises(MlopsError), local_copy(str(tmp_path / "broken.zip")):
        pass
