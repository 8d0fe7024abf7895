"""The deployment spec: written, read, checked, named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import InvalidInputError
from mlops.spec.analysis import Analysis
from mlops.spec.deployment import (
    MAX_ARMS,
    Arm,
    DeploymentSpec,
    Shadow,
    arm_name,
    check,
    from_dict,
    to_dict,
    unique_names,
)
from mlops.spec.model import ModelVersion
from mlops.spec.ramp import Ramp

Json: TypeAlias = Any

texts = st.text(min_size=1, max_size=20)
models = st.builds(
    ModelVersion,
    ref=texts,
    label=texts,
    source=texts,
    name=st.text(max_size=10),
    version=st.integers(0, 10**6),
    run_id=st.text(max_size=10),
    chosen_by=st.text(max_size=10),
)
specs = st.builds(
    DeploymentSpec,
    name=texts,
    arms=st.lists(st.builds(Arm, texts, models, st.floats(0, 1)), min_size=1, max_size=4).map(
        tuple
    ),
    policy=texts,
    sticky_by=st.text(max_size=10),
    reward=texts,
    shadows=st.lists(st.builds(Shadow, texts, models, st.floats(0.01, 1)), max_size=2).map(tuple),
)
REMOTE = ModelVersion("m", "m", "v2+http://host:8080/v2/models/m")


def make(*weights: float, **changes: Json) -> DeploymentSpec:
    arms = tuple(
        Arm(name, ModelVersion(name, f"{name}/1", f"/models/{name}"), weight)
        for name, weight in zip("abcdefgh", weights, strict=False)
    )
    return replace(DeploymentSpec("wine", arms), **changes)


@given(specs)
def test_a_spec_comes_back_through_json(spec: DeploymentSpec) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(spec)))) == spec


def test_a_ramp_comes_back_and_is_of_the_same_experiment() -> None:
    ramp = Ramp((5.0, 25.0, 100.0), every_s=90.0, alpha=0.01, advance="unless-worse", auto=True)
    spec = make(0.95, 0.05, ramp=ramp, analysis=Analysis(guardrails=(("errors", 0.01),)))
    assert from_dict(json.loads(json.dumps(to_dict(check(spec))))) == spec
    grown = spec.with_share(0.25)
    assert [arm.weight for arm in grown.arms] == [0.75, 0.25]
    assert (grown.experiment, grown.ramp) == (spec.experiment, ramp)
    assert ramp.next_after(ramp.step_of(0.25)) == 100.0
    assert spec.only("b").ramp is None
    for wrong in (replace(spec, arms=make(0.5, 0.3, 0.2).arms), replace(spec, policy="thompson"),
                  replace(spec, analysis=Analysis())):  # fmt: skip
        with pytest.raises(InvalidInputError, match="ramp"):
            check(wrong)


def test_a_spec_of_before_there_were_shadows_is_read() -> None:
    document = to_dict(make(0.5, 0.5))
    del document["shadows"]
    assert from_dict(document) == make(0.5, 0.5)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"schema_version": 2},
        {"schema_version": 1},
        {**to_dict(make(1.0)), "arms": [{}]},
        {**to_dict(make(1.0)), "arms": 7},
        {**to_dict(make(1.0)), "shadows": 7},
        {**to_dict(make(1.0)), "shadows": [{"name": "a"}]},
        {**to_dict(make(1.0)), "arms": [7]},
        {**to_dict(make(1.0)), "arms": [{"name": "a", "model": {"x": 1}, "weight": 1}]},
        {**to_dict(make(1.0)), "arms": [{"name": "a", "model": 7, "weight": 1}]},
        {**to_dict(make(1.0)), "arms": [{**to_dict(make(1.0))["arms"][0], "weight": "heavy"}]},
        [],
        "wine",
        None,
    ],
)
def test_what_is_no_spec_is_refused(document: Json) -> None:
    with pytest.raises(InvalidInputError):
        from_dict(document)


@pytest.mark.parametrize(
    "spec",
    [
        make(1.0),
        make(0.5, 0.5),
        make(0.1, 0.2, 0.7),
        make(1.0, 0.0),
        make(0.5, 0.5, sticky_by="header:X-User"),
        make(0.5, 0.5, sticky_by="field:user id".replace(" ", "_")),
        make(1.0, name="a" * 63),
        make(1.0, shadows=(Shadow("s", REMOTE), Shadow("t", REMOTE, 0.01))),
        replace(
            make(1.0),
            arms=tuple(replace(make(1.0).arms[0], name=f"a{i}", weight=1 / 64) for i in range(64)),
        ),
    ],
)
def test_good_specs_pass(spec: DeploymentSpec) -> None:
    assert check(spec) is spec


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        (make(1.0, name="Wine"), "`Wine`"),
        (make(1.0, name=""), "the name ``"),
        (make(1.0, name="-wine"), "`-wine`"),
        (make(1.0, name="wine\n"), "`wine\n`"),
        (make(1.0, name="a" * 64), "1 to 63"),
        (make(), "not 0"),
        (make(0.5, 0.4), "sum to 1"),
        (make(1.5, -0.5), "`b` must be in [0, 1], not -0.5"),
        (make(math.nan, 1.0), "`a` must be in [0, 1], not nan"),
        (make(math.inf), "not inf"),
        (make(1.0, sticky_by="cookie:x"), "`cookie:x`"),
        (make(1.0, sticky_by="header:"), "`header:`"),
        (make(0.5, 0.5, arms=make(0.5).arms * 2), "two arms are called `a`"),
        (make(1.0, arms=(replace(make(1.0).arms[0], name="a b"),)), "`a b` cannot be"),
        (make(1.0, arms=(replace(make(1.0).arms[0], name="a\r\nx"),)), "cannot be"),
        (make(1.0, arms=make(1 / 65).arms * 65), f"1 to {MAX_ARMS} arms, not 65"),
        (make(1.0, shadows=(Shadow("a", REMOTE),)), "two arms or shadows are called `a`"),
        (make(1.0, shadows=(Shadow("a b", REMOTE),)), "`a b` cannot be"),
        (make(1.0, shadows=(Shadow("s", REMOTE, 0.0),)), "`s` must be in (0, 1], not 0.0"),
        (make(1.0, shadows=(Shadow("s", REMOTE, math.nan),)), "not nan"),
        (make(1.0, shadows=tuple(Shadow(f"s{i}", REMOTE) for i in range(9))), "not 9"),
        (
            make(1.0, shadows=(Shadow("s", replace(REMOTE, source="v2+http://host/wine")),)),
            "`v2+http://host/wine` does not name a model",
        ),
    ],
)
def test_faults_are_named(spec: DeploymentSpec, fault: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check(spec)
    assert fault in caught.value.message


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check(make(2.0, name="Wine", sticky_by="x"))
    for part in ("`Wine`", "not 2.0", "sum to 1", "`x`"):
        assert part in caught.value.message


def test_an_experiment_is_arms_and_reward() -> None:
    spec = make(0.5, 0.5)
    same = [make(0.9, 0.1), make(0.5, 0.5, sticky_by="header:u"), make(0.5, 0.5, policy="x")]
    same.append(make(0.5, 0.5, shadows=(Shadow("s", REMOTE),)))
    assert {other.experiment for other in same} == {spec.experiment}
    moved = replace(spec.arms[0], model=replace(spec.arms[0].model, source="/elsewhere"))
    others = [
        make(1.0),
        make(0.5, 0.5, reward="exact"),
        make(0.5, 0.5, name="beer"),
        make(0.5, 0.5, arms=tuple(reversed(spec.arms))),
        make(0.5, 0.5, arms=(moved, spec.arms[1])),
    ]
    assert len({spec.experiment, *(other.experiment for other in others)}) == 6


def test_only_the_winner() -> None:
    winner = make(0.9, 0.1, sticky_by="header:u", shadows=(Shadow("s", REMOTE),)).only("b")
    assert winner.shadows == ()
    assert [(arm.name, arm.weight) for arm in winner.arms] == [("b", 1.0)]
    assert winner.sticky_by == "header:u"


def test_a_ramp_draws_sticky_units_again_once_at_most() -> None:
    first = make(0.9, 0.1, sticky_by="header:u", redraw=True)
    assert not first.with_share(0.5).redraw
    assert not first.only("b").redraw


def test_an_unknown_arm_is_told() -> None:
    assert make(0.5, 0.5).index_of("b") == 1
    with pytest.raises(InvalidInputError) as caught:
        make(0.5, 0.5).index_of("c")
    assert "`c`" in caught.value.message
    assert caught.value.hint == "Its arms are `a`, `b`."


@given(st.lists(st.text(max_size=100), min_size=1, max_size=5))
def test_any_references_make_good_names(refs: list[str]) -> None:
    names = unique_names([arm_name(ref) for ref in refs])
    arms = tuple(Arm(n, ModelVersion(n, n, n), 1 / len(names)) for n in names)
    check(DeploymentSpec("wine", arms))


def test_long_names_are_numbered_too() -> None:
    names = unique_names([arm_name("x" * 80)] * 12)
    assert len(set(names)) == 12
    assert max(map(len, names)) == 63
