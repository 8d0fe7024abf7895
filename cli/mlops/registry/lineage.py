"""Where a model comes from and where it went, as records; `tracing` reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops.spec.model import ModelVersion


@dataclass(frozen=True, slots=True)
class DataSet:
    """Data that a run logged as its input.

    Attributes:
        name: Its name.
        digest: Equal digests mean equal data.
        source: Where it was read from, or the script that made it.
        context: What it was used for, for example "training".
        rows: Number of rows, None if unknown.
    """

    name: str
    digest: str
    source: str
    context: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that made a model.

    Attributes:
        run_id: The run.
        name: MLflow's name for it.
        status: FINISHED, FAILED, KILLED or RUNNING.
        started: When it began.
        user: Who started it.
        host: On which machine, empty if unknown.
        command: How, empty if unknown.
        commit: Commit of the code, empty if unknown.
        branch: Its branch, empty if unknown.
        repository: Where the commit can be had, empty if unknown.
        dirty: Whether files differed from the commit, None if unknown.
        params: Its parameters.
        metrics: The last value of each metric.
        records: Artifacts about code and environment, as URIs.
    """

    run_id: str
    name: str
    status: str
    started: dt.datetime
    user: str
    host: str
    command: str
    commit: str
    branch: str
    repository: str
    dirty: bool | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    records: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """The reference profile in a model's folder.

    Attributes:
        uri: The file.
        data: Name of the data set it describes.
        digest: Digest of the file it was made from.
        rows: Rows of it.
        features: Number of features.
    """

    uri: str
    data: str
    digest: str
    rows: int
    features: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was known at a decision.

    Attributes:
        revision: The revision that the decision made.
        decision: promote, keep, …; see `docs/verdicts.md`.
        winner: The arm that won, None if none did.
        reason: One sentence.
        n: Units with a reward.
        mean: Mean reward of this model's arm, None if unknown.
    """

    revision: int
    decision: str
    winner: str | None
    reason: str
    n: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class Served:
    """A revision of a deployment that has the model as an arm.

    Attributes:
        deployment: Its name.
        revision: Its number.
        state: `pending`, `live`, `replaced` or `failed`.
        action: `deploy`, `promote` or `rollback`.
        author: `user@host` of who made it.
        created: When.
        arm: Name of the arm.
        weight: Its share of the traffic in [0, 1].
        reason: Why, as the user gave it, or the verdict's reason.
        evidence: Decisions that rest on what this revision saw.
    """

    deployment: str
    revision: int
    state: str
    action: str
    author: str
    created: dt.datetime
    arm: str
    weight: float
    reason: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """One model version from its data to its deployments.

    Attributes:
        version: The pinned version.
        aliases: What else it is called.
        data: What its run read.
        run: The run, None if it is unknown or was deleted.
        profile: Its reference profile, None if it has none.
        deployments: Revisions that served it, by deployment, oldest first.
    """

    version: ModelVersion
    aliases: tuple[str, ...]
    data: tuple[DataSet, ...]
    run: Origin | None
    profile: ProfileFacts | None
    deployments: tuple[Served, ...]
