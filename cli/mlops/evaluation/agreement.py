"""A model that was never live, where rewards came only as numbers for the answer that was given.

What another answer would have earned is not known. But a decision at which the model gives the
answer of an arm shows what that answer earns, if that arm was drawn. So the model stands for a
policy: at each decision it draws among the arms that answer as it does, by their probabilities,

    pi(a) = p(a) / sum of p over the arms that agree     if arm a agrees, else 0,

and where none agrees there is no support: the estimate is about the other decisions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.evaluation.base import Evaluation, Unsupported
from mlops.evaluation.model_value import Ask
from mlops.evaluation.policy_value import View, follow, judged
from mlops.journal.base import Journal
from mlops.monitoring.evidence import Evidence
from mlops.rewards.kinds import same
from mlops.stats.off_policy import Floats

_AT_ONCE = 1_000
_NONCE = 12


def evaluate_by_agreement(
    evidence: Evidence,
    journal: Journal,
    subject: str,
    ask: Ask,
    arms: Sequence[Ask],
    *,
    alpha: float,
    min_effective: float,
) -> Evaluation:
    """Estimate what a model would have earned where some arm answers as it does.

    Args:
        evidence: Of the experiment; its units are requests.
        journal: Where their features are.
        subject: The model, as it was written.
        ask: Asks the model.
        arms: Ask the arms, in their order.
        alpha: Probability that an interval misses.
        min_effective: Effective sample size below which nothing is estimated.
    """
    agrees, known = agreement(evidence, journal, ask, arms)
    alone = int((known & ~agrees.any(axis=1)).sum())
    lost = int((~known).sum())
    reasons = (
        Unsupported("no arm gives the model's answer", alone),
        Unsupported("the features were not kept", lost),
    )
    share = 1 - alone / max(int(known.sum()), 1)
    note = (
        f"The estimate is about the {100 * share:.3g} % of decisions at which some arm gives the "
        "model's answer; what it would earn at the others is not known."
    )
    return judged(
        evidence,
        follow(evidence, agreeing(agrees)),
        subject=subject,
        kind="model",
        alpha=alpha,
        min_effective=min_effective,
        unsupported=tuple(each for each in reasons if each.decisions),
        notes=(note,) if alone and share > 0 else (),
    )


def agreeing(agrees: NDArray[np.bool_]) -> View:
    """Return the view of a model that answers as some arms do, (n, k)."""

    def view(part: slice, logged: Floats) -> tuple[Floats, Floats]:
        some = np.where(agrees[part], logged, 0.0)
        total = some.sum(axis=1)
        return some / np.where(total > 0, total, 1.0)[:, None], np.where(total > 0, 1.0, 0.0)

    return view


def agreement(
    evidence: Evidence, journal: Journal, ask: Ask, arms: Sequence[Ask]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find out which arms answer as a model does.

    Returns:
        Whether each arm gives the model's answers to all rows of each decision, (n, k); and whether
        the features of the decision were kept, (n,).
    """
    n = evidence.rewards.size
    agrees, known = np.zeros((n, len(arms)), dtype=bool), np.zeros(n, dtype=bool)
    # An array of bytes forgets zeros at the end.
    nonces = (bytes(nonce).ljust(_NONCE, b"\0") for nonce in evidence.nonces)
    positions = {nonce: at for at, nonce in enumerate(nonces)}
    end, after = journal.end().decisions, 0
    while after < end:
        some = journal.decisions(after, end, _AT_ONCE)
        if not len(some):
            break
        after = int(some.seqs[-1])
        at = np.array([positions.get(nonce, -1) for nonce in some.nonces])
        for table in some.features():
            units = at[table.requests]
            wanted = np.flatnonzero(units >= 0)
            if not wanted.size:
                continue
            rows: list[Any] = table.rows()
            if table.names is not None:
                rows = [dict(zip(table.names, row, strict=True)) for row in rows]
            rows = [rows[each] for each in wanted]
            own, units = ask(rows), units[wanted]
            known[units] = agrees[units] = True
            for arm, its in enumerate(arms):
                pairs = zip(own, its(rows), strict=True)
                differs = [not _same(*pair) for pair in pairs]
                agrees[units[differs], arm] = False
    return agrees, known


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 - JSON values
    return one == other if isinstance(one, list | dict) else same(one, other)
