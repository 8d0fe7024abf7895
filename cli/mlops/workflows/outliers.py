"""`mlops monitor outliers`: requests unlike what the live models were trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlops.deployment.locate import locate
from mlops.deployment.runtime_files import places
from mlops.errors import InvalidInputError
from mlops.monitoring.outliers import Flagged, Found, Share, find_outliers
from mlops.registry.details import read_model_file
from mlops.registry.fetching import cached_folder, local_path
from mlops.settings import Settings
from mlops.spec.deployment import Arm
from mlops.spec.request_id import mint
from mlops.stats.outlier_document import OUTLIER_FILE, RowDetector, from_json, read_detector
from mlops.workflows.evidence import open_evidence, unanswered


@dataclass(frozen=True, slots=True)
class Outlier:
    """One row that was flagged.

    Attributes:
        request_id: Its request; the nonce in hexadecimal where the deployment's key is not here.
        row: Row of the request, from 0.
        arm: Name of the arm that answered.
        time_ms: When that was drawn, milliseconds since 1970 in UTC.
        p_value: Its p-value.
        features: Its most unusual features, and their values.
    """

    request_id: str
    row: int
    arm: str
    time_ms: int
    p_value: float
    features: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OutlierArm:
    """How many rows of one arm were flagged.

    Attributes:
        arm: Its name.
        rows: Rows that were looked at.
        flagged: Those that were.
        share: Their share; None without any row.
    """

    arm: str
    rows: int
    flagged: int
    share: float | None


@dataclass(frozen=True, slots=True)
class OutlierReport:
    """What was flagged.

    Attributes:
        name: Name of the deployment.
        revision: The live one.
        level: Share of undrifted rows that is flagged.
        requests: Requests that were looked at.
        arms: How many rows of each.
        outliers: Rows that were flagged, the most unusual first.
        notes: What could not be looked at, as sentences.
    """

    name: str
    revision: int
    level: float
    requests: int
    arms: tuple[OutlierArm, ...]
    outliers: tuple[Outlier, ...]
    notes: tuple[str, ...]


def look_for_outliers(
    settings: Settings, name: str | None, level: float, last: int, most: int
) -> OutlierReport:
    """Look at the last requests to the live models.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        level: Share of undrifted rows that is flagged.
        last: About how many requests to look at.
        most: How many rows to list.

    Raises:
        InvalidInputError: `level` is no number, a model's detector cannot be read, or the journal
            lacks a feature of every row that it looks at.
        NotFoundError: There is no such deployment, its journal is not here, or it has answered no
            request yet.
        ConflictError: Its servers keep no journal.
        RemoteError: The journal, or the artifact store, cannot be read.
    """
    if not math.isfinite(level):
        raise InvalidInputError(f"`--level {level}` is no number.")
    located = locate(settings, name)
    journal, _ = open_evidence(settings, located)
    try:
        found = find_outliers(journal, partial(detector_of, settings), level, last)
    finally:
        journal.close()
    if found is None or not found.requests:
        raise unanswered(located.name)
    shares = found.shares.values()
    if not any(each.rows for each in shares) and any(each.incomplete for each in shares):
        raise _nothing_to_look_at(settings, {name for each in shares for name in each.lacking})
    path = places(settings, located.name).key
    key = path.read_bytes() if path.exists() else None
    return OutlierReport(
        name=located.name,
        revision=found.revision,
        level=level,
        requests=found.requests,
        arms=tuple(_arm(arm, each) for arm, each in found.shares.items()),
        outliers=tuple(_outlier(each, key) for each in found.flagged[:most]),
        notes=tuple(notes_on(found, level)),
    )


def _nothing_to_look_at(settings: Settings, lacking: set[str]) -> InvalidInputError:
    journal = settings.journal
    by_setting = {
        "hash": sorted(lacking.intersection(journal.hash)),
        "drop": sorted(lacking.intersection(journal.drop)),
    }
    hidden = lacking.intersection((*journal.hash, *journal.drop))
    by_setting["features"] = sorted(lacking - hidden)
    why = ", ".join(
        f"`{names[0]}`{f' and {len(names) - 1} more' if len(names) > 1 else ''} "
        f"(`[journal] {setting}`{', or not sent' if setting == 'features' else ''})"
        for setting, names in by_setting.items()
        if names
    )
    again = (
        "Train the models again: what `[journal] hash` or `drop` names then is not looked at."
        if hidden == lacking
        else "Have the journal keep them, or leave them out of the model's signature."
    )
    return InvalidInputError(
        f"No row can be looked at: the detector needs features that the journal lacks, {why}.",
        hint=again,
    )


def notes_on(found: Found, level: float) -> Iterator[str]:
    """Yield what could not be looked at, or not be flagged at a level, as sentences."""
    for arm in found.unknown:
        yield (
            f"The model of `{arm}` has no detector of outliers: `mlops train` stores one where it "
            "knows the training table, of 200 rows or more."
        )
    for arm, smallest in found.smallest.items():
        if level < smallest:
            yield (
                f"No row of `{arm}` can be flagged at `--level {level:g}`: its model has "
                f"{round(1 / smallest) - 1:,} calibration rows, so the smallest p-value is "
                f"{smallest:.2g}. Use `--level {math.ceil(smallest * 10_000) / 10_000:g}` or more."
            )
    for arm, share in found.shares.items():
        if share.incomplete:
            first, *more = sorted(share.lacking)
            others = f" and {len(more)} more" if more else ""
            yield (
                f"{share.incomplete:,} rows of `{arm}` were left out, as the journal does not have "
                f"their feature `{first}`{others}: not kept (`[journal] features`, `drop` or "
                "`hash`), or not sent."
            )


def detector_of(settings: Settings, arm: Arm) -> RowDetector | None:
    """Return the detector that is stored with an arm's model; None where there is none.

    Raises:
        InvalidInputError: It cannot be read.
        RemoteError: The artifact store does not answer.
    """
    if arm.model.endpoint:
        return None
    folder = cached_folder(arm.model, settings) or local_path(arm.model.source)
    if folder is not None:
        return read_detector(folder)
    text = read_model_file(arm.model.source, OUTLIER_FILE)
    return from_json(text) if text is not None else None


def _arm(name: str, share: Share) -> OutlierArm:
    known = share.flagged / share.rows if share.rows else None
    return OutlierArm(name, share.rows, share.flagged, known)


def _outlier(each: Flagged, key: bytes | None) -> Outlier:
    request_id = each.nonce.hex() if key is None else mint(
        key,
        nonce=each.nonce,
        time_ms=each.time_ms,
        revision=each.revision,
        arm=each.position,
        propensity=each.propensity,
    )  # fmt: skip
    return Outlier(request_id, each.row, each.arm, each.time_ms, each.p_value, dict(each.features))
