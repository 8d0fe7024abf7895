"""What the Seldon Core v1 target refuses, and what its notes say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from mlops.deployment.targets.seldon import FILE
from tests.deployment.matrix import options
from tests.deployment.seldon_manifests import COLUMNS, ab, manifest, refusal, rendered, stock
from tests.deployment.specs import from_sources, ramped, spec

# Refusals


def test_three_arms_do_not_fit_a_graph() -> None:
    message, hint = refusal(
        from_sources("s3://b/1", "s3://b/2", "s3://b/3"), options("seldon", split="graph")
    )
    assert "never calls a third child, and there are 3 arms" in message
    assert "the gateway splits" in hint


def test_sticky_arms_are_refused() -> None:
    message, hint = refusal(replace(ab(), sticky_by="header:X-User"))
    assert "cannot keep `header:X-User` on one" in message
    assert "`--router` and `--target kubernetes` have sticky arms" in hint


def test_a_ramp_is_refused() -> None:
    message, hint = refusal(ramped(ab()))
    assert "judges nothing by which a ramp could move them" in message
    assert "`--router` and `--target kubernetes` have ramps" in hint


def test_names_that_would_be_hashed_are_refused() -> None:
    spec = replace(ab(), name="w" * 46)
    message, hint = refusal(spec)
    assert f"`{'w' * 46}-default-0-model-a`, which has 64 characters" in message
    assert "`--name`" in hint
    assert manifest(replace(ab(), name="w" * 45))["metadata"]["name"] == "w" * 45


def test_a_name_that_begins_with_a_digit_is_refused() -> None:
    assert "begins with a letter" in refusal(replace(ab(), name="3wines"))[0]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("wasbs://box@account.blob.core.windows.net/wine", "may carry a secret"),
        ("wasbs://box/wine", "whose form rclone does not know"),
        ("s3+x://bucket/wine", "cannot name an rclone remote"),
    ],
)
def test_what_rclone_cannot_fetch_is_refused(source: str, fault: str) -> None:
    message, hint = refusal(from_sources("s3://b/m", source))
    assert "the model of `m2` (`" in message
    assert fault in message
    assert hint


def test_several_shadows_are_refused() -> None:
    message, hint = refusal(spec(1.0, shadows=(1.0, 1.0)))
    assert "one shadow, and there are 2" in message
    assert "`--router` and `--target kubernetes` take several" in hint


def test_a_shadow_of_less_than_a_percent_would_get_all() -> None:
    assert "whole percentages" in refusal(spec(1.0, shadows=(0.004,)))[0]


def test_a_share_that_would_vanish_is_refused() -> None:
    message, _ = refusal(spec(0.996, 0.002, 0.002))
    assert "`modelB` gets 0.2 % of the traffic" in message


def test_ambassador_would_give_an_idle_arm_its_share() -> None:
    given = options("seldon", mode="ambassador", split="predictors")
    message, hint = refusal(ab(1.0), given)
    assert "leaves out a weight of 0" in message
    assert "Istio" in hint


def test_a_secret_has_a_name_and_not_a_value() -> None:
    message, hint = refusal(ab(), stock(env_secret="AWS_KEY=abc"))
    assert "lower-case letters, digits, `-` and `.`" in hint
    assert "cannot be the name of an object" in message
    assert "abc" not in message


@pytest.mark.parametrize(
    "given",
    [{"mode": "nginx"}, {"split": "both"}, {"version": "one"}, {"version": "1.5"},
     {"cluster_model_server": "torch"}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any]) -> None:
    refusal(ab(), options("seldon", **given))


def test_mlserver_cannot_load_what_a_current_mlflow_logs() -> None:
    given = replace(options("seldon", cluster_model_server="mlserver"), details={"modelA": COLUMNS})
    message, hint = refusal(ab(), given)
    assert "`modelA` was logged by MLflow 3.17.2, and `docker.io/seldonio/mlserver" in message
    assert "is kept as skops" in message
    assert "`--model-server mlops`" in hint


def test_an_unknown_image_is_taken_as_it_is() -> None:
    given = replace(
        options("seldon", cluster_model_server="mlserver", cluster_image="me/mlserver:1"),
        details={"modelA": COLUMNS},
    )
    assert "used as named" in " ".join(rendered(ab(), given).notes)


# Notes


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("s3://b/m", "RCLONE_CONFIG_S3_ACCESS_KEY_ID"),
        ("gs://b/m", "write gcs://"),
        ("gcs://b/m", "RCLONE_CONFIG_GCS_SERVICE_ACCOUNT_CREDENTIALS"),
        (
            "minio://b/m",
            "rclone knows minio:// only if the secret `store` holds RCLONE_CONFIG_MINIO",
        ),
    ],
)
def test_notes_say_what_the_secret_must_hold(source: str, note: str) -> None:
    assert note in " ".join(rendered(from_sources(source), stock(env_secret="store")).notes)


def test_a_volume_needs_no_secret() -> None:
    assert "RCLONE" not in " ".join(rendered(from_sources("pvc://claim/m")).notes)


@pytest.mark.parametrize(
    ("reward", "negative"),
    [
        ("squared-error", "is negative"),
        ("given", "can be negative"),
        ("rewards:profit", "can be negative"),
        ("exact", ""),
    ],
)
def test_notes_on_rewards(reward: str, negative: str) -> None:
    notes = " ".join(rendered(replace(ab(), reward=reward)).notes)
    assert "a reward of 0 not even those" in notes
    assert negative in notes
    assert ("negative" in notes) == bool(negative)


def test_notes_on_licence_and_images() -> None:
    notes = " ".join(rendered(ab(), stock({"modelA": COLUMNS})).notes)
    assert "Seldon Core 1.17.1 is under Apache-2.0" in notes
    assert "`modelA` was logged by MLflow 3.17.2 and Python 3.11.7" in notes
    later = " ".join(rendered(ab(), stock(version="1.18.2")).notes)
    assert "Seldon Core 1.18.2 is under the Business Source License 1.1" in later
    assert "1.17.1 is the last under Apache-2.0" in later


def test_three_arms_take_no_feedback() -> None:
    made = rendered(spec(0.5, 0.3, 0.2))
    document = yaml.safe_load(made.files[FILE])
    assert [p["traffic"] for p in document["spec"]["predictors"]] == [50, 30, 20]
    assert document["metadata"]["annotations"]["mlops/feedback"] == "none"
    assert "feedback is not possible here" in " ".join(made.notes)
