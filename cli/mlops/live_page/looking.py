"""One look at the journal, for all parts of the page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import MlopsError, NotFoundError
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.journal.streaming import Decisions
from mlops.journal.terms import live_event
from mlops.live_page.backwards import newest_first
from mlops.live_page.source import Source
from mlops.spec.deployment import Arm, DeploymentSpec, from_dict
from mlops.spec.server import read_state

if TYPE_CHECKING:
    from mlops.monitoring.page import ReportPage

#: Newest requests whose features are drawn and looked at for outliers.
NEWEST = 2_000
_AT_ONCE = 250
_MOST_CHARACTERS = 64 * 1024 * 1024


@dataclass
class Look:
    """What several parts need is read once.

    Attributes:
        source: What is asked about.
        journal: Its journal.
    """

    source: Source
    journal: SqlJournal

    @cached_property
    def page(self) -> ReportPage:
        """What the report says."""
        # Statistics take seconds to import, which parts that need none do not wait for.
        from mlops.monitoring.page import read_page
        from mlops.monitoring.report import ReportOptions

        options = ReportOptions(self.source.alpha, self.source.baseline)
        return read_page(self.journal, options, ask=self.source.ask)

    @cached_property
    def events(self) -> list[RevisionEvent]:
        """All of the journal."""
        return self.journal.revision_events()

    @property
    def live(self) -> RevisionEvent:
        """What serves now.

        Raises:
            NotFoundError: Nothing was deployed.
        """
        found = live_event(self.events)
        if found is None or found.spec is None:
            raise NotFoundError("Nothing was deployed with this journal yet.")
        return found

    @cached_property
    def spec(self) -> DeploymentSpec:
        """The spec of what serves now."""
        return from_dict(self.live.spec or {})

    @cached_property
    def newest(self) -> list[Decisions]:
        """The newest requests, about `NEWEST` at most, and fewer where they are very large."""
        end = self.journal.end().decisions
        found: list[Decisions] = []
        size = 0
        for after, batches in newest_first(self.journal, end, _AT_ONCE, features=True):
            found += batches
            size += sum(each.features_size for each in batches)
            if end - after >= NEWEST or size > _MOST_CHARACTERS:
                break
        return found

    def folder(self, arm: Arm) -> Path | None:
        """Return where the files of an arm's model are; None if not on this machine."""
        if arm.model.endpoint:
            return None
        try:
            served = read_state(Path(self.source.state_file)).launch.served
        except MlopsError:
            return None
        models = zip(served.revision.spec.models, served.paths, strict=True)
        path = {model.identity: path for model, path in models}.get(arm.model.identity)
        return Path(path) if path and Path(path).is_dir() else None
