"""`mlops evaluate`: a policy or a model that was never live, on the journal of a deployment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from mlops.deployment.isolation import isolate
from mlops.deployment.locate import locate
from mlops.errors import InvalidInputError, UsageError
from mlops.evaluation.agreement import evaluate_by_agreement
from mlops.evaluation.base import Evaluation
from mlops.evaluation.model_value import Ask, evaluate_model
from mlops.evaluation.policy_value import evaluate_policy
from mlops.journal.caps import Caps
from mlops.journal.features import not_kept
from mlops.journal.json_text import as_json
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import Evidence, gather
from mlops.protocols.base import ProtocolError, Records, Rows
from mlops.protocols.predictions import rows_of
from mlops.registry import fetched
from mlops.registry.refs import resolve_all
from mlops.registry.trust import check_trusted
from mlops.rewards import reward_called
from mlops.runtimes.load import load_model
from mlops.settings import Settings
from mlops.spec.deployment import Arm
from mlops.spec.model import ModelVersion
from mlops.workflows.evidence import open_evidence


def evaluated_policy(
    settings: Settings, name: str | None, policy: str, *, min_effective: float
) -> Evaluation:
    """Estimate what a policy would have earned on a deployment's traffic.

    Args:
        settings: The project's settings; `report` says alpha and which evidence is taken.
        name: Deployment, or None for the only one.
        policy: Fixed weights as `a=0.2,b=0.8`, or a policy as in `mlops deploy --policy`.
        min_effective: Effective sample size below which nothing is estimated.

    Raises:
        NotFoundError: There is no such deployment, or its journal is not here.
        InvalidInputError: There is no such policy or arm.
    """
    alpha = settings.report.alpha
    with _journal(settings, name) as journal:
        evidence = gather(journal, whole=settings.report.all)
        return evaluate_policy(
            evidence, policy, journal.rows_of, alpha=alpha, min_effective=min_effective
        )


def evaluated_model(
    settings: Settings, name: str | None, ref: str, *, min_effective: float
) -> Evaluation:
    """Estimate what a model would have earned on a deployment's traffic. Runs the model's code.

    Args:
        settings: The project's settings; `report` says alpha and which evidence is taken.
        name: Deployment, or None for the only one.
        ref: The model.
        min_effective: Effective sample size below which nothing is estimated.

    Raises:
        NotFoundError: There is no such deployment or model.
        InvalidInputError: The model does not take the logged features.
        UsageError: It has no files here.
    """
    (version,) = resolve_all(settings, [ref])
    options = {"alpha": settings.report.alpha, "min_effective": min_effective}
    with _journal(settings, name) as journal, contextlib.ExitStack() as stack:
        evidence = gather(journal, whole=settings.report.all)
        spec = evidence.spec
        model = stack.enter_context(_scorer(settings, evidence, version))
        if reward_called(spec.reward).is_derived:
            rows = Caps(spec.attribution).within(journal.labelled_rows(evidence.revisions))
            return evaluate_model(evidence, ref, rows, model.ask, model.classes, **options)
        if spec.sticky_by or evidence.sums is not None:
            raise InvalidInputError(
                f"The reward `{spec.reward}` was sent for units of several requests: what another "
                "model's answers to them would have earned cannot be told.",
                hint="A policy can be evaluated: `--policy`.",
            )
        arms = [stack.enter_context(_scorer(settings, evidence, arm.model)) for arm in spec.arms]
        asks = [arm.ask for arm in arms]
        return evaluate_by_agreement(evidence, journal, ref, model.ask, asks, **options)


@contextlib.contextmanager
def _journal(settings: Settings, name: str | None) -> Iterator[SqlJournal]:
    found = locate(settings, name)
    journal, _ = open_evidence(settings, found)
    try:
        yield journal
    finally:
        journal.close()


@dataclass(frozen=True, slots=True)
class _Scorer:
    """A model that is loaded here."""

    ask: Ask
    classes: tuple[Any, ...]


@contextlib.contextmanager
def _scorer(settings: Settings, evidence: Evidence, version: ModelVersion) -> Iterator[_Scorer]:
    """Load a model, in an environment of its own where the deployment would."""
    if version.endpoint is not None:
        raise UsageError(
            f"`{version.label}` is behind an endpoint; only a model with files here is asked.",
            hint="Name the version in the registry, or a folder.",
        )
    alone = replace(evidence.spec, arms=(Arm("candidate", version, 1.0),), shadows=())
    with fetched([version], settings) as (folder,):
        check_trusted(settings, [version], [folder])
        pythons = isolate(settings, alone, [str(folder)], lambda _: None)
        loaded = load_model(folder, "pyfunc", python=next(iter(pythons), ""))
        try:
            inputs = [each.name for each in loaded.signature.columns if each.required]
            yield _Scorer(_asking(version.label, loaded.model, inputs), loaded.classes)
        finally:
            if loaded.process is not None:
                loaded.process.close()


def _asking(label: str, model: Any, inputs: Sequence[str]) -> Ask:  # noqa: ANN401 - a `ServableModel`
    def ask(rows: Sequence[Any]) -> list[Any]:
        lacking = not_kept(rows[0], inputs) if isinstance(rows[0], dict) else ""
        if lacking:
            raise InvalidInputError(
                f"`{label}` cannot be asked about the logged requests: {lacking}.",
                hint="Evaluate a model that does not take these columns, or have later requests "
                "keep them. `--policy` needs no features.",
            )
        payload = Records(list(rows)) if isinstance(rows[0], dict) else Rows(list(rows))
        try:
            answers = rows_of(model.predict(payload, {}), len(rows))
        except ProtocolError as error:
            raise InvalidInputError(
                f"`{label}` does not take the logged rows: {error.message}",
                hint="`[journal] features`, `hash` and `drop` say which features are kept.",
            ) from error
        if answers is None:
            raise InvalidInputError(f"`{label}` answers {len(rows)} rows as a whole, not each.")
        found: list[Any] = orjson.loads(as_json(answers))
        return found

    return ask
