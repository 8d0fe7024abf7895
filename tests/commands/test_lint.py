"""`mlops lint`, as a user and as a pipeline meet it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.__main__ import run

THE_TALK = Path(__file__).parents[1] / "linting/the_talk.yaml"
WELL = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"
Lint = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Lint:
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str, str]:
        code = run(["lint", *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_what_is_well(lint: Lint, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WELL)
    assert lint("a.yaml") == (0, "1 file: no problems found\n", "")


def test_errors_exit_with_3_and_warnings_only_if_strict(lint: Lint) -> None:
    assert lint(THE_TALK, "--feedback")[0] == 3
    assert lint(THE_TALK)[0] == 0
    assert lint(THE_TALK, "--strict")[0] == 3


def test_findings_are_explained_once(lint: Lint) -> None:
    _, out, _ = lint(THE_TALK, "--feedback")
    assert f"{THE_TALK}:12: error seldon/lost-feedback spec.predictors: feedback is sent" in out
    words = " ".join(out.split())
    assert words.count("half of all rewards are wrong") == 1
    assert out.count("seldon/anonymous-gs") == 2
    assert words.count("only public buckets can be read") == 1
    assert out.endswith("1 file: 1 error, 11 warnings\n")


def test_json_is_one_document(lint: Lint) -> None:
    code, out, _ = lint(THE_TALK, "--feedback", "--json")
    document = json.loads(out)
    assert code == 3
    assert document["schema_version"] == 1
    assert (document["errors"], document["warnings"]) == (1, 11)
    assert set(document["findings"][0]) == {
        "rule", "severity", "file", "line", "object", "path", "message", "explanation", "reference",
    }  # fmt: skip


def test_annotations_for_github(lint: Lint) -> None:
    code, out, _ = lint(THE_TALK, "--feedback", "--format", "github")
    assert code == 3
    lines = out.splitlines()
    assert len(lines) == 12
    for line in lines:
        assert re.fullmatch(r"::(error|warning) file=[^,:]+,line=\d+,title=[a-z0-9/-]+::.+", line)
    assert "100%25" not in lines[0]


def test_a_folder_is_searched(lint: Lint, tmp_path: Path) -> None:
    (tmp_path / "deploy/.git").mkdir(parents=True)
    (tmp_path / "deploy/.git/x.yaml").write_text("a: [")
    (tmp_path / "deploy/a.yml").write_text(WELL)
    (tmp_path / "deploy/readme.md").write_text("# no")
    (tmp_path / "deploy/b.json").write_bytes(b"\xff\xfe\x00")
    assert lint("deploy")[:2] == (0, "2 files: no problems found\n")


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "", "replicas: 3\n", "# only a word\n"])
def test_a_named_file_holds_a_manifest(
    lint: Lint, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/values.yaml").write_text(text)
    code, out, _ = lint("data/values.yaml")
    assert code == 3
    assert out.startswith("data/values.yaml:1: error no-manifest this file contains no manifest\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert lint("-")[0] == 3
    # In a folder it may be a chart's values, a dashboard, a project's settings.
    assert lint("data")[:2] == (0, "1 file: no problems found\n")


def test_a_kustomization_is_read_by_its_name(lint: Lint, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    assert lint("kustomization.yaml")[0] == 0


def test_a_template_and_a_patch_are_notes(lint: Lint, tmp_path: Path) -> None:
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart/a.yaml").write_text("kind: Pod\n{{- if .Values.x }}\nspec: {}\n{{- end }}\n")
    code, out, _ = lint("chart", "--strict")
    assert code == 0
    assert out.startswith(
        "chart/a.yaml:2: note template this is a template, so it was not checked\n"
    )
    assert out.endswith("1 file: 0 errors, 0 warnings, 1 note\n")
    assert lint("chart", "--format", "github")[1].startswith("::notice file=chart/a.yaml,line=2,")
    document = json.loads(lint("chart", "--json")[1])
    assert (document["errors"], document["notes"]) == (0, 1)


def test_a_patch_is_one_where_it_is_named_alone(lint: Lint, tmp_path: Path) -> None:
    (tmp_path / "k/p").mkdir(parents=True)
    (tmp_path / "k/kustomization.yaml").write_text("patches:\n- path: p/a.yaml\n")
    (tmp_path / "k/p/a.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2}\n"
    )
    code, out, _ = lint("k/p/a.yaml")
    assert (code, "note partial-object" in out) == (0, True)
    (tmp_path / "k/kustomization.yaml").unlink()
    assert lint("k/p/a.yaml")[0] == 3


def test_standard_input(lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a: ["))
    code, out, _ = lint("-")
    assert code == 3
    assert re.match(r"<stdin>:[12]: error yaml", out)


def test_a_version_of_the_platform(lint: Lint) -> None:
    assert "BSL 1.1" in lint(THE_TALK, "--platform", "seldon=1.18.2")[1]


def test_rules_are_listed(lint: Lint) -> None:
    rules = json.loads(lint("--rules", "--json")[1])["rules"]
    assert len(rules) > 100
    assert {"seldon/traffic-sum", "kserve/canary-percent"} <= {rule["rule"] for rule in rules}
    assert "kserve/canary-percent" in lint("--rules")[1]


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [
        ((), 2, "No manifests are named"),
        (("nowhere.yaml",), 5, "no file `nowhere.yaml`"),
        (("empty",), 5, "`empty` has no manifests"),
        (("binary.yaml",), 3, "cannot be read"),
        (("x.yaml", "--format", "xml"), 2, "no format `xml`"),
        (("x.yaml", "--platform", "kserv=1"), 2, "Did you mean `kserve`?"),
        (("x.yaml", "--platform", "kserve=new"), 2, "`new` is not a version"),
    ],
)
def test_wrong_calls(
    lint: Lint, tmp_path: Path, words: tuple[str, ...], code: int, fault: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "x.yaml").write_text(WELL)
    got, out, err = lint(*words)
    assert (got, out) == (code, "")
    assert fault in err
