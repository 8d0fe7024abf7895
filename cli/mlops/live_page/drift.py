"""Drift by feature: the evidence, and both distributions over each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.errors import MlopsError, NotFoundError
from mlops.live_page.distributions import Drawn, can_be_drawn, draw, numbers
from mlops.live_page.looking import Look
from mlops.live_page.templates import render
from mlops.monitoring.drift import CONSUMER
from mlops.monitoring.drift_panel import DriftPanel, read_panel
from mlops.monitoring.drift_streams import WARM_UP, Stream
from mlops.spec.metrics import PREDICTION
from mlops.stats.joint import Joint
from mlops.stats.profile_document import PROFILE_FILE, from_json
from mlops.stats.profiles import FeatureProfile

_CARDS = 24
_FAILED = 400


@dataclass(frozen=True, slots=True)
class Card:
    """One feature, over all arms.

    Attributes:
        feature: Its name; `PREDICTION` for what arms answer.
        streams: One for each arm.
        drawn: Its distributions; None where the journal has none of its values.
        arms: For answers, what each arm answered: name, position and path.
    """

    feature: str
    streams: Sequence[Stream]
    drawn: Drawn | None = None
    arms: Sequence[tuple[str, int, Drawn]] = ()

    @property
    def alarm(self) -> bool:
        """Whether any arm's alarms."""
        return any(each.alarm for each in self.streams)

    @property
    def e_value(self) -> float:
        """The largest."""
        return max((each.e_value for each in self.streams), default=1.0)

    @property
    def psi(self) -> float | None:
        """The largest; None before there is one."""
        known = [each.psi for each in self.streams if not math.isnan(each.psi)]
        return max(known, default=None)

    @property
    def since_ms(self) -> int | None:
        """When the first alarm came."""
        return min((e.since_ms for e in self.streams if e.since_ms is not None), default=None)

    @property
    def not_drawn(self) -> str:
        """Why there is no plot of it."""
        different = [each for each in self.streams if each.kind == "distinct" and each.rows]
        if different:
            each = different[0]
            return (
                "Nearly every value is another: only the share of missing ones is compared, "
                f"{each.missing:.1%} now and {each.missing_before:.1%} before."
            )
        if self.feature != PREDICTION:
            return "The journal has no values of it: not kept, or not sent."
        said = (
            f"{each.arm}: {each.why_not or f'{each.rows:,} were compared with {_before(each)}'}"
            for each in self.streams
        )
        return f"Only answers that are numbers are drawn. {'; '.join(said)}."


def _before(stream: Stream) -> str:
    return f"the first {WARM_UP:,}" if stream.against != "training" else "the training data"


def drift(look: Look) -> str:
    """Write the part."""
    panel = read_panel(look.journal)
    if panel is None:
        if CONSUMER not in look.source.consumers:
            raise NotFoundError("Drift is not watched here: `[watch]` in mlops.toml says what is.")
        raise NotFoundError("Nothing compared yet: the consumer `drift` starts after some seconds.")
    known = [each for each in panel.streams if each.feature not in look.source.hidden]
    hidden = {each.feature for each in panel.streams} & look.source.hidden
    panel = replace(panel, streams=known)
    by_feature: dict[str, list[Stream]] = {}
    for each in panel.streams:
        by_feature.setdefault(each.feature, []).append(each)
    cards = [Card(name, streams) for name, streams in by_feature.items()]
    # The answers last, what alarms first.
    cards.sort(key=lambda c: (c.feature == PREDICTION, not c.alarm, -c.e_value))
    kept = {name for each in look.newest for t in each.features() for name in t.names or ()}
    features = [
        card
        for card in cards
        if card.feature != PREDICTION
        and (card.feature in kept or any(each.rows for each in card.streams))
    ]
    answers = [card for card in cards if card.feature == PREDICTION]
    return render(
        "drift",
        panel=panel,
        cards=[*_with_values(look, features[:_CARDS]), *_answers(look, answers)],
        more=len(features) - _CARDS,
        prediction=PREDICTION,
        hidden=sorted(hidden),
        summary=_summary(panel),
        colors={arm.name: index for index, arm in enumerate(look.spec.arms)},
    )


def _summary(panel: DriftPanel) -> str:
    names = [name for name in panel.drifted if name != PREDICTION]
    said = ", ".join(f"`{name}`" for name in names[:8]) + (" and others" if len(names) > 8 else "")
    if names and PREDICTION in panel.drifted:
        return f"{said} and what the arms answer have drifted."
    if names:
        return f"{said} {'has' if len(names) == 1 else 'have'} drifted."
    if PREDICTION in panel.drifted:
        return "What the arms answer has drifted; no feature has."
    return "No drift found."


def _with_values(look: Look, cards: Sequence[Card]) -> list[Card]:
    """Draw the features that the journal has values of.

    The training data is not drawn alone: its values may be ones that are not to be kept.
    """
    profiles, joint = _profiles(look)
    shown = {c.feature: joint[c.feature] for c in cards if c.feature in joint}
    hidden = look.source.hidden
    columns = _columns(look, {k: j for k, j in shown.items() if not hidden.intersection(j.columns)})
    found = []
    for card in cards:
        cells = columns.get(card.feature, ())
        has_values = any(cell is not None and cell == cell for cell in cells)
        drawn = draw(profiles.get(card.feature), cells) if has_values else None
        found.append(replace(card, drawn=drawn))
    return found


def _profiles(look: Look) -> tuple[Mapping[str, FeatureProfile], Mapping[str, Joint]]:
    """Return what the training data was like, by feature and by statistic of several, and these.

    It is that of the first arm that has a profile.
    """
    for arm in look.spec.arms:
        folder = look.folder(arm)
        path = folder / PROFILE_FILE if folder else None
        if path is not None and path.is_file():
            try:
                found = from_json(path.read_text(encoding="utf-8"))
            except MlopsError:
                continue
            more = {k: each for k, each in found.joint.items() if k not in found.features}
            profiles = {**{k: each.profile for k, each in more.items()}, **found.features}
            return profiles, {name: each.statistic for name, each in more.items()}
    return {}, {}


def _columns(look: Look, joint: Mapping[str, Joint]) -> Mapping[str, list[Any]]:
    """Return the newest values of each feature, and of statistics of several.

    As in what is compared, those of requests that were refused do not count.
    """
    found: dict[str, list[Any]] = {}
    for decisions, table in ((some, each) for some in look.newest for each in some.features()):
        names = table.names or ()
        every = np.flatnonzero(decisions.statuses[table.requests] < _FAILED)
        for name in names:
            cells = table.column(name)
            found.setdefault(name, []).extend([cells[row] for row in every.tolist()])
        for name, statistic in joint.items():
            if set(statistic.columns) <= set(names):
                numbers = [table.numbers(column, every) for column in statistic.columns]
                found.setdefault(name, []).extend(statistic.values(numbers).tolist())
    return found


def _answered(look: Look) -> dict[int, NDArray[np.float64]]:
    """Return the numbers that each arm answered lately, by its position."""
    found: dict[int, list[NDArray[np.float64]]] = {i: [] for i in range(len(look.spec.arms))}
    for batch in look.newest:
        good = (batch.revisions == look.live.revision) & can_be_drawn(batch.predictions)
        for index, some in found.items():
            some.append(batch.predictions[good & (batch.arms == index)])
    return {index: np.concatenate([*some, np.array([])]) for index, some in found.items()}


def _answers(look: Look, cards: Sequence[Card]) -> list[Card]:
    """Draw what each arm answered, where that is a number, with the same axis."""
    made: list[Card] = []
    found = _answered(look)
    every = np.concatenate([*found.values(), np.array([])])
    for card in cards:
        arms = []
        for index, arm in enumerate(look.spec.arms):
            own = found[index]
            if len(own) > 1:
                ends = np.quantile(every, [0.0, 1.0]).tolist()
                drawn = numbers(None, own, ends)
                arms += [(arm.name, index, drawn)] if drawn else []
        made.append(Card(card.feature, card.streams, None, arms))
    return made
