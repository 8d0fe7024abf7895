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
    assert f"{file}:6: `report.alpha` must be between 0 and 1, not `2`" in lines
    assert f"{file}:9: `deploy.port` must be a whole number, not `x`" in lines
    assert (
        "environment: MLOPS_FEEDBACK_DRAWS: `feedback.draws` must not be negative, not `-1`"
        in lines
    )


@pytest.mark.parametrize(
    ("section", "key", "value", "fault"),
    [
        ("deploy", "port", 80800, "must be from 0 to 65535"),
        ("deploy", "grpc_port", 65536, "must be from 0 to 65535"),
        ("deploy", "max_bodies_mib", 15, "must be 16 or more"),
        ("kubernetes", "replicas", 0, "must be 1 or more"),
        ("kubernetes", "grpc_port", 99999, "must be from 0 to 65535"),
        ("auth", "refresh_s", 0, "must be 1 or more"),
        ("training", "ray_cpus", 0, "must be 1 or more"),
        ("journal", "retention_days", 10**12, "must be from 0 to 36500"),
    ],
)
def test_numbers_have_ranges(
    tmp_path: Path, section: str, key: str, value: int, fault: str
) -> None:
    file = tmp_path / "mlops.toml"
    file.write_text(f"[{section}]\n{key} = {value}\n")
    with pytest.raises(InvalidInputError) as caught:
        load_settings(tmp_path, environ={})
    assert caught.value.message == f"{file}:2: `{section}.{key}` {fault}, not `{value}`"


def test_lines_of_keys_that_several_sections_have(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(
        "[project]\nversion = 1\n[tool.mlops.kserve]\nversion = '0.20'\n[tool.mlops.seldon]\n"
        "'version' = 1\n[tool.mlops]\nseldon2.version = 2\nreport = { alpha = 2 }\n"
    )
    with pytest.raises(InvalidInputError) as caught:
        load_settings(tmp_path, environ={})
    places = [line.split("`")[:2] for line in caught.value.message.splitlines()]
    assert places == [
        [f"{file}:9: ", "report.alpha"],
        [f"{file}:6: ", "seldon.version"],
        [f"{file}:8: ", "seldon2.version"],
    ]


def test_variables_of_unknown_keys_are_errors(tmp_path: Path) -> None:
    environ = {
        "MLOPS_JOURNAL_FEATURE": "none",
        "MLOPS_DEPLOY_PROT": "9999",
        "MLOPS_ARTIFACTS_SECRET_KEY": "hunter2",
    }
    with pytest.raises(InvalidInputError) as caught:
        load_settings(tmp_path, environ=environ)
    secret, deploy, journal = caught.value.message.splitlines()
    assert deploy == (
        "environment: MLOPS_DEPLOY_PROT: unknown key of [deploy] `prot`. Did you mean `port`?"
    )
    assert journal.startswith("environment: MLOPS_JOURNAL_FEATURE: ")
    assert journal.endswith("Did you mean `features`?")
    assert "hold one" in secret
    assert "hunter2" not in caught.value.message


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    names = (
        "MLOPS_DEBUG", "MLOPS_DEPLOY", "MLOPS_URL", "MLOPS_SOURCE", "MLOPS_TOKEN", "MLOPS_NAME",
        "MLOPS_MODEL_LABEL", "MLOPS_REQUIRE", "MLOPS_TEST_CACHE", "_MLOPS_COMPLETE",
        # Of a Service that is called `mlops-deploy`.
        "MLOPS_DEPLOY_SERVICE_HOST", "MLOPS_DEPLOY_SERVICE_PORT_HTTP", "MLOPS_DEPLOY_PORT_80_TCP",
        "MLOPS_DEPLOY_PORT_80_TCP_ADDR",
    )  # fmt: skip
    # As of a CI system whose variable is not set.
    load_settings(tmp_path, environ={**dict.fromkeys(names, "x"), "MLOPS_DEPLOY_URL": ""})


@pytest.mark.parametrize("scheme", ["tcp", "udp", "sctp"])
def test_the_url_of_a_service_is_no_setting(tmp_path: Path, scheme: str) -> None:
    """A pod has `NAME_PORT` for each Service of its namespace, here `mlops-journal` and such."""
    (tmp_path / "mlops.toml").write_text("[deploy]\nport = 8081\n")
    names = ("MLOPS_JOURNAL_PORT", "MLOPS_DEPLOY_PORT")
    environ = dict.fromkeys(names, f"{scheme}://10.0.0.1:80")
    assert load_settings(tmp_path, environ=environ).deploy.port == 8081
    with pytest.raises(InvalidInputError, match=r"unknown key of \[journal\] `port`"):
        load_settings(tmp_path, environ={"MLOPS_JOURNAL_PORT": "80"})


def test_labels_are_a_list_or_a_table(tmp_path: Path) -> None:
    def read(text: str) -> tuple[str, ...]:
        (tmp_path / "mlops.toml").write_text(f"[cluster]\nnode_selector = {text}\n")
        return load_settings(tmp_path, environ={}).cluster.node_selector

    assert read('{ pool = "ml", disk = "ssd" }') == read('["pool=ml", "disk=ssd"]')
    assert read('"pool=ml, disk=ssd"') == ("pool=ml", "disk=ssd")
    with pytest.raises(InvalidInputError, match="must be a list of labels"):
        read("{ pool = 1 }")


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
