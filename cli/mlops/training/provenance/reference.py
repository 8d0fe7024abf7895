"""The reference profile of what a model was trained on, found among the data its run names.

A training script is any script, so its table is not passed on. In this order are taken

1. a data set that the script logged with `mlflow.log_input` and whose source is a file of this
   machine, for example `mlflow.data.from_pandas(table, source="data/train.csv")`;
2. a file that a parameter of type `path` or `uri` names;

and of those the first that has every column of the model's signature. Only these columns are
described, and those whose values the journal must not keep (`[journal] hash` and `drop`) are only
counted: a model's files travel further than a journal. The digest in a profile is that of the
file's bytes: it says what was described, also where the script logged a part of the file.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError
from mlops.registry.details import read_details
from mlops.registry.stores.base import file_checksum
from mlops.stats.outlier_document import OUTLIER_FILE, fit_rows
from mlops.stats.outlier_document import to_json as to_outlier_json
from mlops.stats.profile_document import PROFILE_FILE, Profile, to_json
from mlops.tables.frames import read_frame, values_of
from mlops.tables.reading import is_table
from mlops.tables.signature import Column, Signature
from mlops.training.provenance.data import DataFile, local_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

    from mlops.registry.logged_models import Logged
    from mlops.stats.joint import JointFeature

_LOG = logging.getLogger(__name__)

#: What a profile is for, in a few words.
PURPOSE = "a summary of the training data, to compare live requests with"
NO_COLUMNS = "the model has no signature with named columns"
NO_TABLE = "the run names no table it was trained on"
# Also MLflow's autologging names tables that were made by code.
_NO_FILE = (
    "the table that the run names, `{}`, has no CSV or Parquet file of this machine as source"
)
# What a script adds to name its table; the source must be a file.
_HOW_TO_NAME_IT = """; to have one, and a detector of outliers, add to the script
  data = mlflow.data.from_pandas(table, source="data/train.csv")
  mlflow.log_input(data, context="training")
where `source` is the CSV or Parquet file"""
_DIGITS = 32
# Numbers of all samples together: two megabytes of text.
_MOST_SAMPLED, _LEAST_OF_A_FEATURE = 200_000, 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """Data that may be what a model was trained on.

    Attributes:
        name: Name of the data set, or of the parameter.
        path: The file.
    """

    name: str
    path: Path


def describe(
    client: MlflowClient,
    run: Run,
    model: Logged,
    files: Sequence[DataFile],
    folder: Path,
    hidden: Collection[str] = (),
) -> str:
    """Store a model's reference profile in its folder.

    Args:
        client: Where the model is.
        run: The run that logged it.
        model: The model.
        files: What the parameters name.
        folder: The project's, where the script ran.
        hidden: Features whose values are to be kept nowhere.

    Returns:
        Why there is no profile; empty if there is one.
    """
    inputs = read_details(model.source).inputs
    if not inputs or not all(column.name for column in inputs):
        return NO_COLUMNS
    signature = Signature(tuple(Column(column.name, column.type) for column in inputs))
    reasons = []
    for candidate in candidates(run, files, folder):
        try:
            profile = _profile(candidate, signature, hidden)
        except InvalidInputError as error:
            reasons.append(f"`{candidate.path}`: {error.message}")
        else:
            _store(client, model, PROFILE_FILE, to_json(profile))
            detector = detector_of(candidate.path, profile.digest, signature, _personal(profile))
            if detector:
                _store(client, model, OUTLIER_FILE, detector)
            return ""
    return "; ".join(reasons) or _no_table(run, files)


def how_to_name(reason: str) -> str:
    """Return what to add to a script that names no table in a file; empty for other reasons."""
    prefix = _NO_FILE.partition("{")[0]
    return _HOW_TO_NAME_IT if reason == NO_TABLE or reason.startswith(prefix) else ""


def candidates(run: Run, files: Sequence[DataFile], folder: Path) -> Iterator[Candidate]:
    """Yield the tables a run names, the best first, each once."""
    seen: set[Path] = set()
    logged = run.inputs.dataset_inputs if run.inputs else []
    ours = {(file.name, file.digest) for file in files}
    found = [
        Candidate(item.dataset.name, path)
        for item in sorted(logged, key=_is_not_for_training)
        if (item.dataset.name, item.dataset.digest) not in ours
        and (path := _source_file(item.dataset.source, folder)) is not None
    ]
    found += [Candidate(file.name, file.path) for file in files if file.path is not None]
    for candidate in found:
        if is_table(candidate.path) and candidate.path.is_file() and candidate.path not in seen:
            seen.add(candidate.path)
            yield candidate


def _no_table(run: Run, files: Sequence[DataFile]) -> str:
    ours = {(file.name, file.digest) for file in files}
    logged = run.inputs.dataset_inputs if run.inputs else []
    for item in sorted(logged, key=_is_not_for_training):
        if (item.dataset.name, item.dataset.digest) not in ours:
            return _NO_FILE.format(item.dataset.name)
    return NO_TABLE


def _is_not_for_training(item: DatasetInput) -> bool:
    return not any("train" in tag.value for tag in item.tags)


def _source_file(source: str, folder: Path) -> Path | None:
    try:
        uri = json.loads(source).get("uri")
    except (ValueError, AttributeError):
        return None
    return local_file(uri, folder) if isinstance(uri, str) else None


def _personal(profile: Profile) -> frozenset[str]:
    """Return the features of which no value is kept."""
    kept_nowhere = ("distinct", "hidden")
    return frozenset(k for k, each in profile.features.items() if each.kind in kept_nowhere)


def _profile(candidate: Candidate, signature: Signature, hidden: Collection[str]) -> Profile:
    from mlops.stats.identifiers import profile_column
    from mlops.stats.profiles import MAX_SAMPLE, hidden_feature

    frame = read_frame(candidate.path, signature)
    features = signature.names
    missing = [name for name in features if name not in frame]
    if missing:
        raise InvalidInputError(f"it lacks the column `{missing[0]}` of the model's signature")
    sample = min(MAX_SAMPLE, max(_LEAST_OF_A_FEATURE, _MOST_SAMPLED // len(features)))
    columns = {name: values_of(frame[name]) for name in features}
    profiles = {
        name: hidden_feature(cells) if name in hidden else profile_column(name, cells, sample)
        for name, cells in columns.items()
    }
    return Profile(
        name=candidate.name,
        digest=file_checksum(candidate.path)[:_DIGITS],
        source=str(candidate.path),
        rows=len(frame),
        profiled_rows=len(frame),
        features=profiles,
        joint=_joint({k: v for k, v in columns.items() if profiles[k].kind == "number"}, sample),
    )


def _joint(columns: Mapping[str, Any], sample: int) -> dict[str, JointFeature]:
    import numpy as np

    from mlops.stats.joint import joint_features

    numbers = {
        name: np.asarray(cells, dtype=np.float64)
        for name, cells in columns.items()
        if getattr(getattr(cells, "dtype", None), "kind", "") in ("i", "u", "f")
    }
    return joint_features(numbers, sample)


# A sweep asks about the same file for every trial.
@lru_cache(maxsize=4)
def detector_of(
    path: Path, _digest: str, signature: Signature, without: frozenset[str] = frozenset()
) -> str:
    """Return a detector of outliers among such rows, as JSON.

    Args:
        path: The table.
        _digest: Of its bytes.
        signature: Of the model.
        without: Features that it does not look at.

    Returns:
        Empty where there are too few rows, or where it failed, which is logged: the model has been
        trained, and is worth more than its detector.
    """
    try:
        return _fitted(path, signature, without)
    except Exception as error:  # noqa: BLE001 - see above; a table may hold anything
        _LOG.warning("no detector of outliers was made of %s: %r", path, error)
        return ""


def _fitted(path: Path, signature: Signature, without: frozenset[str]) -> str:
    from mlops.stats.outliers import LEAST_ROWS, MOST_ROWS, most_rows
    from mlops.stats.profiles import profile_feature
    from mlops.stats.row_codes import codings

    frame = read_frame(path, signature)
    if len(frame) < LEAST_ROWS:
        return ""
    # In random order, so that the first rows are a sample too.
    frame = frame.sample(min(len(frame), MOST_ROWS), random_state=0)
    names = [name for name in signature.names if name not in without]
    known = codings({name: profile_feature(values_of(frame[name]), 0) for name in names})
    if not known:
        return ""
    # Each feature has two columns. All rows of a wide table would take gigabytes.
    frame = frame.head(most_rows(2 * len(known)))
    return to_outlier_json(
        fit_rows({each.name: values_of(frame[each.name]) for each in known}, known)
    )


def _store(client: MlflowClient, model: Logged, name: str, text: str) -> None:
    """Put a document into the model's folder, so that it goes wherever the model goes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text, encoding="utf-8")
        if model.model_id:
            client.log_model_artifact(model.model_id, str(path))
        else:
            client.log_artifact(model.run_id, str(path), model.name)
