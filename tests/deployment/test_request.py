from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.deployment.arm_options import ArmRequest, ShadowRequest
from mlops.deployment.request import DeployRequest, check_words, read_request
from mlops.deployment.spec_faults import SPEC_KEYS
from mlops.deployment.spec_making import make_spec
from mlops.errors import InvalidInputError, MlopsError, NotFoundError, UsageError
from mlops.settings import Settings, load_settings
from mlops.spec.analysis import Analysis


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path, environ={"MLOPS_DEPLOY_NAME": "wine"})


def arms(request: DeployRequest) -> list[tuple[str, str, float | None]]:
    return [(arm.name, arm.ref, arm.weight) for arm in request.arms]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ab": ("x", "y")}, [("", "x", None), ("", "y", None)]),
        ({"ab": ("x", "y"), "split": "90/10"}, [("", "x", 90), ("", "y", 10)]),
        ({"ab": ("x", "y"), "split": "90%/10%"}, [("", "x", 90), ("", "y", 10)]),
        ({"model": "x"}, [("", "x", None)]),
        ({"model": "x", "canary": "y=5"}, [("", "x", 95), ("", "y", 5)]),
        ({"model": "x", "canary": "s3://b/y?v=1=2.5%"},
         [("", "x", 97.5), ("", "s3://b/y?v=1", 2.5)]),
        ({"arms": ["a=x", "b=y"]}, [("a", "x", None), ("b", "y", None)]),
        ({"arms": ["a=x:90", "b=y:10%"]}, [("a", "x", 90), ("b", "y", 10)]),
        ({"arms": ["a=models:/wine/3:.5", "b=models:/wine/3"]},
         [("a", "models:/wine/3", 0.5), ("b", "models:/wine/3", None)]),
        ({"arms": ["a=s3://bucket:9000/m:1", "b=runs:/id/model:2", "c=./my=model:3"]},
         [("a", "s3://bucket:9000/m", 1), ("b", "runs:/id/model", 2), ("c", "./my=model", 3)]),
        ({"arms": ["a=x", "b=y"], "split": "1/3"}, [("a", "x", 1), ("b", "y", 3)]),
        ({"arms": ["a=seldon+http://h:9000", "b=seldon+http://h:9000:50",
                   "c=mlflow+http://[::1]:80", "d=v2+http://h:80/v2/models/m:3"]},
         [("a", "seldon+http://h:9000", None), ("b", "seldon+http://h:9000", 50),
          ("c", "mlflow+http://[::1]:80", None), ("d", "v2+http://h:80/v2/models/m", 3)]),
    ],
)  # fmt: skip
def test_ways_to_name_models(
    settings: Settings, options: dict[str, Any], expected: list[tuple[str, str, float | None]]
) -> None:
    assert arms(read_request(settings, **options)) == expected


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "Say which models"),
        ({"ab": ("x", "y"), "model": "z"}, "in one way"),
        ({"ab": ("x", "y"), "canary": "z=1"}, "--canary"),
        ({"ab": ("x", "--json")}, "takes two models, and `--json` is no model"),
        ({"ab": ("x", "y@")}, "no alias"),
        ({"model": "x", "split": "50/50"}, "among 1 arm."),
        ({"ab": ("x", "y"), "split": "1/2/3"}, "`1/2/3`"),
        ({"ab": ("x", "y"), "split": "half"}, "`half`"),
        ({"ab": ("x", "y"), "split": "90/20"}, "sum to 110"),
        ({"arms": ["a=x:90", "b=y:20"]}, "`90/20` sum to 110"),
        ({"model": "x", "canary": "y"}, "`y`"),
        ({"model": "x", "canary": "y=100"}, "`y=100`"),
        ({"model": "x", "canary": "y=5", "split": "1/2"}, "--canary"),
        ({"arms": ["x"]}, "`x`"),
        ({"arms": ["=x"]}, "`=x`"),
        ({"arms": ["a="]}, "`a=`"),
        ({"arms": ["a=x:1", "b=y:2"], "split": "1/2"}, "not with both"),
        ({"file": Path("spec.yaml"), "split": "1/2"}, "-f"),
        ({"model": "x", "shadows": ["y=0"]}, "`y=0`"),
        ({"model": "x", "shadows": ["y=101%"]}, "`y=101%`"),
    ],
)
def test_misused(settings: Settings, options: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_request(settings, **options)
    assert part in f"{caught.value.message} {caught.value.hint}"


def test_shadows(settings: Settings, tmp_path: Path) -> None:
    request = read_request(settings, model="x", shadows=["y", "models:/y/3=12.5%", "./a=b"])
    assert [(shadow.ref, shadow.percent) for shadow in request.shadows] == [
        ("y", 100), ("models:/y/3", 12.5), ("./a=b", 100)
    ]  # fmt: skip
    file = tmp_path / "spec.yaml"
    file.write_text(
        "arms: [{model: x}]\nshadows:\n  - {model: s3://b/y, percent: 5}\n  - {model: s3://b/y}\n"
    )
    wanted_ = read_request(settings, file=file)
    assert [shadow.percent for shadow in wanted_.shadows] == [5, 100]
    by_hand = read_request(settings, file=file, shadows=["z"])
    assert [shadow.ref for shadow in by_hand.shadows] == ["z"]


def test_a_file_and_who_has_the_last_word(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(
        "name: tasting\nsticky_by: header:X\nreward: exact\n"
        "arms:\n  - {name: old, model: wine/1, weight: 90}\n  - {model: wine/2, weight: 10}\n"
    )
    environ = {"MLOPS_DEPLOY_NAME": "wine", "MLOPS_FEEDBACK_REWARD": "given"}
    request = read_request(load_settings(tmp_path, environ=environ), file=file)
    assert arms(request) == [("old", "wine/1", 90), ("", "wine/2", 10)]
    assert (request.name, request.sticky_by, request.reward) == ("tasting", "header:X", "exact")
    flags = {"deploy.name": "mine", "deploy.sticky_by": "field:y", "feedback.reward": "given"}
    request = read_request(load_settings(tmp_path, flags, environ), file=file)
    assert (request.name, request.sticky_by, request.reward) == ("mine", "field:y", "given")


def test_a_range_goes_with_its_reward(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text("[feedback]\nreward_range = [-36, 0]\n")
    file = tmp_path / "spec.yaml"
    arms = "arms:\n  - {model: wine/1}\n"

    def found(spec: str = "", **flags: str) -> tuple[float, float] | None:
        named = {f"feedback.{key}": value for key, value in flags.items()}
        file.write_text(spec + arms)
        settings = load_settings(tmp_path, named, {})
        if not spec:
            return read_request(settings, model="wine").reward_range
        return read_request(settings, file=file).reward_range

    assert found() == (-36, 0)
    # That of the project file is not one of another reward.
    assert found(reward="given") is None
    assert found(reward="given", reward_range="0..5") == (0, 5)
    assert found(reward_range="-1.5..2e3") == (-1.5, 2000)
    assert found("name: x\n") == (-36, 0)
    assert found("reward: given\n") is None
    assert found("reward: given\nreward_range: [0, 1]\n") == (0, 1)
    assert found("reward: given\nreward_range: [0, 1]\n", reward_range="0..9") == (0, 9)
    for wrong in ("1..0", "0..0", "0..inf", "x..1", "1", "1..2..3"):
        with pytest.raises(InvalidInputError, match="reward_range"):
            found(reward_range=wrong)
    for wrong in ("[0]", "[0, 1, 2]", "0..1", "[true, 2]"):
        with pytest.raises(InvalidInputError, match="two numbers"):
            found(f"reward_range: {wrong}\n")


def test_how_evidence_is_judged_is_in_the_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "wine.yaml"
    file.write_text(
        "arms: [{model: x}, {model: y}]\nhorizon: 14d\nworth: 0.5\nper: outcomes\n"
        "guardrails: {latency_ms: 50, exact: 0.02}\nmin_days: 14\n"
    )
    request = read_request(settings, file=file)
    assert request.horizon == (0, 14.0)
    margins = (("latency_ms", 50.0), ("exact", 0.02))
    assert request.analysis == Analysis(0.5, margins, 14.0, per="outcomes")
    file.write_text("arms: [{model: x}]\nguardrails: {errors: few}\nhorizon: [1]\n")
    with pytest.raises(InvalidInputError) as caught:
        read_request(settings, file=file)
    assert "`guardrails` must be numbers by metric" in caught.value.message
    assert "`horizon` must be a whole number or a time" in caught.value.message


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"report": {"worth": "much"}}, "`much`"),
        ({"report": {"min_days": "-2"}}, "`-2`"),
        ({"report": {"per": "users"}}, "outcomes or requests"),
        ({"deploy": {"horizon": "soon"}}, "`soon`"),
    ],
)
def test_what_cannot_be_declared(
    settings: Settings, changes: dict[str, dict[str, str]], part: str
) -> None:
    for section, values in changes.items():
        record = replace(getattr(settings, section), **values)
        settings = replace(settings, **{section: record})
    with pytest.raises(InvalidInputError, match=part):
        read_request(settings, ab=("x", "y"))


def test_all_faults_of_a_file_at_once(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(
        "naem: x\nreward: 5\narms:\n  - {name: a, modle: x}\n  - {model: y, weight: lots}\n"
        "  - {model: y, weight: -1, nam: b}\n  - 7\n"
        "shadows:\n  - {model: y, percent: 0}\n  - {weight: 1, model: y, percent: most}\n"
    )
    with pytest.raises(InvalidInputError) as caught:
        read_request(settings, file=file)
    for part in (
        "unknown key `naem`. Did you mean `name`?",
        "`reward` must be text",
        "arm 1: `model` must name a model",
        "arm 2: `weight` must be a number from 0, not `lots`",
        "arm 3: unknown key `nam`",
        "arm 3: `weight` must be a number from 0, not `-1`",
        "arm 4: `model` must name a model",
        "shadow 1: `percent` must be a number above 0 and up to 100, not `0`",
        "shadow 2: unknown key `weight`",
        "not `most`",
    ):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("window: 20", "`window = 20`: `20` is not a duration."),
        ("max_per_key: 5/soon", "`max_per_key = 5/soon`: `soon` is not a duration."),
        ("per: users", "`per` must be outcomes or requests, not `users`."),
        ("failed: x", "`failed = x` must be a number"),
        ("horizon: soon", "The horizon `soon`"),
        ("guardrails: {refund: 1}", "`refund` is not a metric"),
        ("ramp: [50, 20]", "`ramp`: "),
    ],
)
def test_what_a_file_has_wrong_names_file_and_key(
    settings: Settings, tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"arms: [{{model: x}}, {{model: y}}]\n{line}\n")
    with pytest.raises(InvalidInputError) as caught:
        read_request(settings, file=file)
    assert caught.value.message.startswith(f"`{file}`: ")
    assert said in caught.value.message
    assert "[report]" not in caught.value.message


def test_a_question_ends_an_error_of_a_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("arms: [{model: x}]\nstick_by: header:x\n")
    with pytest.raises(InvalidInputError) as caught:
        read_request(settings, file=file)
    assert caught.value.message.endswith("Did you mean `sticky_by`?")
    assert "max_per_key" in (caught.value.hint or "")


def test_the_documentation_has_every_key_of_a_file() -> None:
    page = (Path(__file__).parents[2] / "docs/deployments.md").read_text(encoding="utf-8")
    table = page.partition("| key | value |")[2].partition("\n\n")[0]
    keys = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(keys) == sorted(SPEC_KEYS)


def test_a_missing_file_is_found_out_first(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file `"):
        check_words(file=tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    "text",
    ["", "- a\n", "arms: []\n", "arms: {a: b}\n", "a: [\n", "\x00", "[" * 50_000, "a: " * 50_000],
    ids=lambda text: repr(text[:20]),
)
def test_a_file_that_is_none(settings: Settings, tmp_path: Path, text: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError):
        read_request(settings, file=file)
    with pytest.raises(NotFoundError):
        read_request(settings, file=tmp_path / "nowhere.yaml")


def wanted(*named: tuple[str, str, float | None], name: str = "wine") -> DeployRequest:
    return DeployRequest(tuple(ArmRequest(r, n, w) for n, r, w in named), name, "", "exact")


def test_weights_become_shares(ready_folder: Path) -> None:
    settings = load_settings(ready_folder, environ={})
    spec = make_spec(settings, wanted(("a", "s3://b/x", 1), ("b", "s3://b/y", 3)))
    assert [arm.weight for arm in spec.arms] == [0.25, 0.75]
    thirds = make_spec(settings, wanted(*[("", f"s3://b/{n}", None) for n in "xyz"]))
    assert [arm.name for arm in thirds.arms] == ["b-x", "b-y", "b-z"]
    assert sum(arm.weight for arm in thirds.arms) == pytest.approx(1)
    same = make_spec(settings, wanted(("", "s3://b/x", None), ("", "s3://b/x", None)))
    assert [arm.name for arm in same.arms] == ["b-x", "b-x-2"]
    one = replace(wanted(("", "s3://b/x", None)), shadows=(ShadowRequest("s3://b/x", percent=5),))
    spec = make_spec(settings, one)
    assert [(shadow.name, shadow.share) for shadow in spec.shadows] == [("b-x-2", 0.05)]


def test_names_are_checked_before_models_are_looked_up(ready_folder: Path) -> None:
    settings = load_settings(ready_folder, environ={})
    with pytest.raises(InvalidInputError) as caught:
        make_spec(settings, wanted(("a b", "missing", 1), ("c", "missing", 1), name="Wine"))
    assert "the name `Wine` must have 1 to 63 lower-case letters" in caught.value.message
    assert "`a b` cannot be an arm's name, which has 1 to 63 letters" in caught.value.message


def test_a_spec_file_names_the_decision_rule(settings: Settings, tmp_path: Path) -> None:
    costs = (("0", "1", 200.0),)
    file = tmp_path / "spec.yaml"
    text = "{arms: [{model: 's3://b/x'}], reward: cost, decision_rule: %s}"
    file.write_text(text % "threshold=0.040")
    request = replace(read_request(settings, file=file), costs=costs)
    assert make_spec(settings, request).decision_rule == "threshold=0.04"
    file.write_text("{arms: [{model: 's3://b/x'}], reward: exact, decision_rule: min-cost}")
    with pytest.raises(InvalidInputError, match="`decision_rule` goes with `reward: cost`"):
        read_request(settings, file=file)
    with pytest.raises(InvalidInputError, match="for two classes, and the cost matrix names 3"):
        make_spec(settings, replace(request, costs=(*costs, ("2", "1", 1.0))))
    file.write_text(text % "min-cost")
    request = replace(read_request(settings, file=file), costs=(*costs, ("1", "1", 0.0)))
    with pytest.raises(InvalidInputError, match="`1` -> `0`"):
        make_spec(settings, request)
    file.write_text(text % "cheapest")
    with pytest.raises(InvalidInputError, match="must be `most-likely`"):
        make_spec(settings, replace(read_request(settings, file=file), costs=costs))


def test_an_endpoint_is_a_model(ready_folder: Path) -> None:
    settings = load_settings(ready_folder, environ={})
    request = wanted(("", "v2+http://h/v2/models/wine/infer#token=T", None))
    (arm,) = make_spec(settings, request).arms
    assert (arm.name, arm.model.label) == ("wine", "v2+http://h/v2/models/wine")
    assert arm.model.endpoint is not None
    assert arm.model.endpoint.token == "T"


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        (wanted(("a", "s3://b/x", 1), ("b", "s3://b/y", None)), "all or none"),
        (wanted(("a", "s3://b/x", 0), ("b", "s3://b/y", 0)), "above 0"),
        (wanted(("a", "s3://b/x", -1), ("b", "s3://b/y", 2)), "negative"),
        (wanted(("a", "s3://b/x", None), ("a", "s3://b/y", None)), "`a`"),
        (wanted(("a b", "s3://b/x", None)), "`a b`"),
        (wanted(("a", "s3://b/x", float("nan"))), "weight"),
        (wanted(("a", "s3://b/x", None), name="Wine!"), "`Wine!`"),
        (wanted(("a", "wine/1", None)), "`wine`"),
    ],
)
def test_what_cannot_be_deployed(ready_folder: Path, request_: DeployRequest, part: str) -> None:
    with pytest.raises(MlopsError) as caught:
        make_spec(load_settings(ready_folder, environ={}), request_)
    assert part in caught.value.message
    assert caught.value.exit_code in (2, 3, 5)


@pytest.mark.parametrize(
    ("weights", "ramp", "shares", "steps"),
    [
        ((95, 5), "{steps: [5, 25, 100], every: 1h, advance: unless-worse, auto: true}",
         [95, 5], (5, 25, 100)),
        ((0.9, 0.1), "10,50,100", [90, 10], (10, 50, 100)),
        ((None, None), "[2.5, 50]", [97.5, 2.5], (2.5, 50)),
    ],
)  # fmt: skip
def test_a_ramp_in_a_file(
    settings: Settings,
    tmp_path: Path,
    weights: tuple[float | None, ...],
    ramp: str,
    shares: list[float],
    steps: tuple[float, ...],
) -> None:
    file = tmp_path / "spec.yaml"
    written = (
        f"  - {{model: wine/{at}{'' if weight is None else f', weight: {weight}'}}}\n"
        for at, weight in enumerate(weights, start=1)
    )
    file.write_text(f"arms:\n{''.join(written)}ramp: {ramp}\n")
    request = read_request(settings, file=file)
    assert [arm.weight for arm in request.arms] == shares
    assert request.ramp is not None
    assert request.ramp.steps == steps
    assert request.analysis.guardrails == (("errors", 0.01), ("refusals", 0.01))
    if "auto" in ramp:
        said = request.ramp
        assert (said.every_s, said.advance, said.auto) == (3600.0, "unless-worse", True)


_EVERY = '{ steps = [5, 50, 100], every = "1h", advance = "unless-worse", auto = true }'


@pytest.mark.parametrize(
    ("written", "options", "expected"),
    [
        ("[5, 25, 100]", {"canary": "y"}, ((5, 25, 100), 1800.0, "not-worse", False)),
        ("'5,25,100'", {"canary": "y=5"}, ((5, 25, 100), 1800.0, "not-worse", False)),
        (_EVERY, {"canary": "y"}, ((5, 50, 100), 3600.0, "unless-worse", True)),
        (_EVERY, {"canary": "y", "ramp": {"every": "2h"}},
         ((5, 50, 100), 7200.0, "unless-worse", True)),
        (_EVERY, {"canary": "y=10", "ramp": {"steps": "10,100"}},
         ((10, 100), 3600.0, "unless-worse", True)),
        (_EVERY, {"canary": "y", "ramp": {"auto": False}},
         ((5, 50, 100), 3600.0, "unless-worse", False)),
        (_EVERY, {"canary": "y=5", "ramp": {"steps": "none"}}, None),
        (_EVERY, {}, None),
        ("[]", {"canary": "y=5"}, None),
    ],
)  # fmt: skip
def test_a_ramp_of_the_project(
    tmp_path: Path, written: str, options: dict[str, Any], expected: tuple[Any, ...] | None
) -> None:
    (tmp_path / "mlops.toml").write_text(f"[deploy]\nname = 'wine'\nramp = {written}\n")
    said = {"steps": "", "every": "", "advance": "", "auto": None, **options.pop("ramp", {})}
    settings = load_settings(tmp_path, environ={})
    plan = read_request(settings, model="x", ramp=said, **options).ramp
    told = plan and (plan.steps, plan.every_s, plan.advance, plan.auto)
    assert told == expected


def test_a_ramp_of_the_project_that_is_none(tmp_path: Path) -> None:
    project = tmp_path / "mlops.toml"
    for written, part in (
        ("{every = '1h'}", "must have `steps`"),
        ("{steps = [5], evry = '1h'}", "`advance`"),
        ("{steps = [5], auto = 1}", "true or false"),
        ("{steps = [5], every = 1}", "must have text"),
        ("5", "must be shares, such as [5, 25"),
        ("{steps = 5}", "must be shares, such as [5, 25"),
    ):
        project.write_text(f"[deploy]\nramp = {written}\n")
        with pytest.raises(InvalidInputError) as caught:
            load_settings(tmp_path, environ={})
        assert part in caught.value.message
    project.write_text("[deploy]\nname = 'wine'\nramp = [10, 100]\n")
    with pytest.raises(UsageError, match=r"`\[deploy\] ramp` \(.*begins with 10 %") as refused:
        read_request(load_settings(tmp_path, environ={}), model="x", canary="y=5")
    assert "`--ramp none`" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("ramp", "arms", "part"),
    [
        ("[5, 100]", "[{model: x}]", "two arms"),
        ("[10, 100]", "[{model: x, weight: 95}, {model: y, weight: 5}]", "the canary gets 5 %"),
        ("[50, 10]", "[{model: x}, {model: y}]", "not a ramp"),
        ("words", "[{model: x}, {model: y}]", "not a ramp"),
        ("{every: 1h}", "[{model: x}, {model: y}]", "`steps`"),
        ("{steps: [a]}", "[{model: x}, {model: y}]", "shares in per cent"),
        ("{steps: [5], evry: 1h, auto: 1}", "[{model: x}, {model: y}]", "Did you mean `every`"),
        ("{steps: [5, 100], advance: never}", "[{model: x}, {model: y}]", "not `never`"),
        ("5", "[{model: x}, {model: y}]", "shares in per cent"),
    ],
)
def test_a_ramp_in_a_file_that_is_none(
    settings: Settings, tmp_path: Path, ramp: str, arms: str, part: str
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"arms: {arms}\nramp: {ramp}\n")
    with pytest.raises(InvalidInputError) as caught:
        read_request(settings, file=file)
    assert part in f"{caught.value.message} {caught.value.hint}"
