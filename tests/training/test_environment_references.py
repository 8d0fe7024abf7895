"""An environment is made again when what its requirements name on this machine changes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.deployment.isolation import recipe_of
from mlops.environments import references
from mlops.environments.building import Recipe, build
from mlops.environments.files import read_requirements
from mlops.environments.references import local_packages, referenced
from tests.requirements import uv_on_path

Change = Callable[[Path], object]


def _of_project(folder: Path) -> Recipe:
    """Return the recipe of a project's python_env.yaml."""
    file = folder / "python_env.yaml"
    python, requirements = read_requirements(file)
    return Recipe("uv", python, requirements, file, referenced(requirements, folder))


def _project(folder: Path, *lines: str) -> Path:
    """Write a project with one list of requirements, which has these lines."""
    folder.mkdir(exist_ok=True)
    (folder / "python_env.yaml").write_text("dependencies: ['-r requirements.txt']")
    (folder / "requirements.txt").write_text("\n".join(["# ours", *lines, ""]))
    return folder


def _package(folder: Path, text: str = "X = 1\n") -> Path:
    """Write a package that builds without the network: by a backend of its own."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "features"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(
        "import zipfile\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    name, info = 'features-1-py3-none-any.whl', 'features-1.dist-info'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as wheel:\n"
        "        wheel.writestr('features.py', open('features.py').read())\n"
        "        wheel.writestr(f'{info}/METADATA', 'Metadata-Version: 2.1\\nName: features\\n'\n"
        "                       'Version: 1\\n')\n"
        "        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\n'\n"
        "                       'Root-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr(f'{info}/RECORD', '')\n"
        "    return name\n"
    )
    (folder / "features.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    "line",
    ["-r base.txt", "-rbase.txt", "--requirement base.txt", "--requirement=base.txt",
     "-c base.txt", "-cbase.txt", "--constraint=base.txt  # ours", "-r sub/../base.txt"],
)  # fmt: skip
def test_a_list_that_a_list_names(tmp_path: Path, line: str) -> None:
    names: list[str] = []
    for pin in ("six==1.16.0", "six==1.17.0", "six==1.16.0"):
        # Each list is read from its own folder.
        folder = _project(tmp_path, "-r lists/all.txt")
        (folder / "lists" / "sub").mkdir(parents=True, exist_ok=True)
        (folder / "lists" / "all.txt").write_text(f"{line}\n")
        (folder / "lists" / "base.txt").write_text(f"{pin}\n-r all.txt\n")
        names.append(_of_project(folder).folder)
    assert names[0] == names[2] != names[1]


def test_lists_of_a_model_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-rbase.txt\nmlflow\n")
    (tmp_path / "base.txt").write_text("-r deep.txt\n")
    (tmp_path / "deep.txt").write_text("six==1.16.0\n")
    before = recipe_of(tmp_path, {})
    # The list that is installed from is in another folder.
    assert before.requirements[0] == f"-r {tmp_path}/base.txt"
    (tmp_path / "deep.txt").write_text("six==1.17.0\n")
    assert recipe_of(tmp_path, {}).folder != before.folder


@pytest.mark.parametrize(
    "line",
    ["./features", "../project/features", "{folder}/features", "file:{folder}/features",
     "file://{folder}/features", "features @ file://{folder}/features",
     "./features[all] ; python_version > '3'", "features/"],
)  # fmt: skip
def test_a_package_in_a_folder(tmp_path: Path, line: str) -> None:
    project = tmp_path / "project"
    _project(project, line.format(folder=project))
    package = _package(project / "features")
    assert local_packages(["-r requirements.txt"], project) == ["features"]
    before = _of_project(project).folder
    # What git, a build, tests and Python leave there.
    for left in (".git/index", "build/lib/x.py", "features.egg-info/PKG-INFO",
                 "__pycache__/features.cpython-311.pyc", ".venv/pyvenv.cfg"):  # fmt: skip
        (package / left).parent.mkdir(parents=True, exist_ok=True)
        (package / left).write_text("left")
    assert _of_project(project).folder == before
    (package / "features.py").write_text("X = 2\n")
    assert _of_project(project).folder != before


def test_an_editable_package_and_the_project_itself(tmp_path: Path) -> None:
    project = _project(tmp_path / "project", "-e ./features", ".")
    package = _package(project / "features")
    before = _of_project(project).folder
    (project / "result.csv").write_text("1\n")
    assert _of_project(project).folder == before
    _project(project, "-e ./features")
    before = _of_project(project).folder
    (package / "features.py").write_text("X = 2\n")
    assert _of_project(project).folder == before
    (package / "setup.cfg").write_text("[options]\ninstall_requires = six\n")
    assert _of_project(project).folder != before


def test_requirements_that_name_nothing_here(tmp_path: Path) -> None:
    (tmp_path / "six").write_text("no package")
    lines = ["six", "-r gone.txt", "-r " + "x" * 5_000, "-r https://h/x.txt", "./gone", "git+https://h/x.git#egg=x",
             "x @ https://h/x.whl", "./" + "x" * 5_000, "--find-links ./six"]  # fmt: skip
    assert referenced(lines, tmp_path) == []


def test_uv_installs_the_code_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv_on_path(monkeypatch)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    project = _project(tmp_path / "project", "./features")
    package = _package(project / "features")
    said = []
    for number in (1, 2):
        (package / "features.py").write_text(f"X = {number}\n")
        python = build(_of_project(project), tmp_path / "home", lambda _: None)
        words = [str(python), "-I", "-c", "import features; print(features.X)"]
        said.append(subprocess.check_output(words, text=True).strip())
    assert said == ["1", "2"]


def test_the_code_of_a_project_with_many_files_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "_FOLDER_FILES", 20)
    project = _project(tmp_path / "project", ".")
    for path in [*(f"data/{n:02}.png" for n in range(40)), "src/model.py"]:
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text("X = 1\n")
    before = _of_project(project).folder
    (project / "data" / "00.png").write_text("X = 22\n")
    assert _of_project(project).folder == before
    (project / "src" / "model.py").write_text("X = 22\n")
    assert _of_project(project).folder != before


def test_files_of_a_package_beyond_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "_FOLDER_FILES", 1)
    project = _project(tmp_path / "project", "./features")
    (_package(project / "features") / "words.txt").write_text("a\n")
    before = _of_project(project).folder
    (project / "features" / "words.txt").write_text("a\nb\n")
    assert _of_project(project).folder != before


@pytest.mark.parametrize(
    "line", ['-e "./my features"', "-e './my features'", "--editable=./my\\ features"]
)
def test_a_path_with_spaces(tmp_path: Path, line: str) -> None:
    project = _project(tmp_path / "project", line)
    package = _package(project / "my features")
    before = _of_project(project).folder
    (package / "setup.cfg").write_text("[options]\ninstall_requires = six\n")
    assert _of_project(project).folder != before
    url = f"-e file://{project}/my%20features"
    assert references.absolute(line, project).replace("--editable", "-e") == url
    assert referenced([url], project) == referenced([line], project)


def test_a_list_in_a_folder_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "my lists").mkdir()
    (tmp_path / "my lists" / "all.txt").write_text("six\n")
    for line in ('-r "my lists/all.txt"', "--requirement='my lists/all.txt'"):
        full = references.absolute(line, tmp_path)
        assert full.endswith(f" '{tmp_path}/my lists/all.txt'")
        assert referenced([line], tmp_path) == referenced([full], tmp_path) == [b"six\n"]


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    project = _project(tmp_path / "project", "./features")
    package = _package(project / "features")
    before = _of_project(project).folder
    (package / ".coverage").write_text("left")
    assert _of_project(project).folder == before


@pytest.mark.parametrize("manager", ["uv", "virtualenv"])
def test_both_managers_install_an_editable_package_in_a_folder_with_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: str
) -> None:
    uv_on_path(monkeypatch)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    project = _project(tmp_path / "project")
    backend = _package(project / "my features") / "backend.py"
    backend.write_text(backend.read_text().replace("def build_wheel", "def build_editable"))
    (project / "python_env.yaml").write_text("""dependencies: ['-e "./my features"']""")
    recipe = replace(_of_project(project), manager=manager)
    python = build(recipe, tmp_path / "home", lambda _: None)
    subprocess.check_output([str(python), "-I", "-c", "import features"])
