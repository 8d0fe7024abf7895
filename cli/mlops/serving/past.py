"""What a server knows of earlier revisions, and what it records about its own.

Both are in the journal, which may be away when the server starts: locked, damaged, on a full disk,
behind a network. The server answers predictions anyway, and catches up once it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlops.errors import ConflictError, MlopsError, RemoteError
from mlops.journal.base import Journal, JournalUnavailableError
from mlops.journal.key_print import different_key, is_key_of
from mlops.journal.records import Fact, PolicyEpoch, RevisionEvent
from mlops.journal.terms import is_spec
from mlops.journal.writer import FLUSH_S, JournalWriter
from mlops.policies.first_arms import Rollout
from mlops.serving.revision import LiveRevision
from mlops.serving.revision_number import content_of
from mlops.spec.deployment import DeploymentSpec, from_dict, to_dict
from mlops.spec.request_id import fingerprint
from mlops.spec.server import Launch
from mlops.spec.unit import revisions_of_units

_LOG = logging.getLogger(__name__)
_RETRY_S = 1.0
_NAME = "past"
# A rollout over replicas is over when earlier revisions have been idle this long, and how often
# that is looked at once it takes long.
_ROLLOUT_OVER_S, _ROLLOUT_PAUSE_S = 600.0, 30.0
_ROLLOUT_ROWS = 2_000
# Shorter ones are conflicts of two writers.
_OUTAGE_MS = 1_000
# How long feedback waits to learn of a revision, and after how long that is tried again.
_LOOK_S, _LOOK_PAUSE_S = 2.0, 5.0


class Past:
    """The revisions of one deployment, as its journal has them.

    Args:
        journal: Read, and written, from threads.
        writer: Writes down later what cannot be written now.
        launch: Which server this is, and whether the journal is to have its key.
        key: The key of its request ids.

    Attributes:
        specs: What each revision that is known here was.
        fault: Why earlier revisions are not known yet; empty once they are.
        warning: What was found wrong once the journal was back; else empty.
    """

    def __init__(self, journal: Journal, writer: JournalWriter, launch: Launch, key: bytes) -> None:
        self._journal = journal
        self._writer = writer
        self._launch = launch
        self._print = fingerprint(key)
        self._starts = False
        self._looking: asyncio.Task[None] | None = None
        self._looking_until = 0.0
        # Revisions that the journal did not have, and until when it is not asked again.
        self._missing: dict[int, float] = {}
        self.specs: dict[int, DeploymentSpec] = {}
        self.fault = ""
        self.warning = ""

    def recall(self, live: LiveRevision) -> LiveRevision:
        """Read earlier revisions, so that late feedback is credited by their arms and reward.

        Args:
            live: The revision that the server starts with.

        Returns:
            The same with the arms that sticky units had, if the journal can be read.
        """
        try:
            self._take(self._read_specs())
            found = self.with_first_arms(live)
        except RemoteError as error:
            self._writer.outage.away(_NAME, error)
            self.fault = error.message
            return live
        self.fault = ""
        return found

    def _read_specs(self) -> dict[int, DeploymentSpec]:
        return {
            event.revision: from_dict(event.spec)
            for event in self._journal.revision_events()
            if event.spec is not None and is_spec(event)
        }

    def _take(self, found: Mapping[int, DeploymentSpec]) -> None:
        for number, spec in found.items():
            self.specs.setdefault(number, spec)

    async def look_for(self, revisions: Collection[int]) -> None:
        """Learn of revisions that other replicas serve, which have recorded them.

        Gives up after a moment: a journal that is away must not hold up feedback.

        Args:
            revisions: That feedback names.
        """
        now = time.monotonic()
        new = {
            number
            for number in revisions
            if number not in self.specs and now >= self._missing.get(number, 0.0)
        }
        is_own = False
        while new - self.specs.keys() and not is_own:
            # One that has begun before may have read too early; one that hangs is waited for once.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
                self._looking_until, is_own = time.monotonic() + _LOOK_S, True
            left = self._looking_until - time.monotonic()
            if not (await asyncio.wait([self._looking], timeout=max(0.0, left)))[0]:
                break
        again = time.monotonic() + _LOOK_PAUSE_S
        self._missing = {number: until for number, until in self._missing.items() if until > now}
        self._missing |= dict.fromkeys(new - self.specs.keys(), again)

    async def _look(self) -> None:
        # On the event loop, where others go through them.
        with contextlib.suppress(MlopsError):
            self._take(await asyncio.to_thread(self._read_specs))

    async def catch_up(
        self, get: Callable[[], LiveRevision], put: Callable[[LiveRevision], None]
    ) -> None:
        """Try again, until cancelled, whenever earlier revisions or the key are not known yet.

        Of several workers one checks the key, when all are ready: that may fail later.

        Args:
            get: Returns the live revision.
            put: Takes the same with the first arms of sticky units.
        """
        while True:
            await asyncio.sleep(_RETRY_S)
            if not self.fault:
                continue
            live = get()
            found = await asyncio.to_thread(self.recall, live)
            if not self.fault:
                await asyncio.to_thread(self._check_key_late)
                await asyncio.to_thread(self._check_number_late, live)
            if not self.fault:
                self._writer.outage.back(_NAME)
                if get() is live:
                    put(found)

    def with_first_arms(self, live: LiveRevision) -> LiveRevision:
        """Let sticky units keep the arms that they had before this revision.

        Raises:
            RemoteError: The journal cannot be read.
        """
        revision = live.served.revision
        earlier = revisions_of_units(
            {**self.specs, revision.number: revision.spec}, revision.number
        )
        if not earlier:
            return live
        rollout = Rollout(revision.number)
        self._read_first_arms(rollout, earlier)
        return replace(live, first_arms=rollout.known, rollout=(rollout, earlier))

    def _read_first_arms(self, rollout: Rollout, earlier: Sequence[int]) -> None:
        requests = self._journal.drawn_requests(earlier)
        rollout.learn((each.unit, each.revision, each.arm, each.propensity) for each in requests)

    async def follow_rollout(
        self, get: Callable[[], LiveRevision], put: Callable[[LiveRevision], None]
    ) -> None:
        """Learn of units that replicas of earlier revisions still meet, until these are silent.

        Args:
            get: Returns the live revision.
            put: Takes the same with what was learned.
        """
        number, pause_s, silent_s = get().served.revision.number, 2 * FLUSH_S, 0.0
        while silent_s < _ROLLOUT_OVER_S:
            await asyncio.sleep(pause_s)
            live = get()
            if live.rollout is None or live.served.revision.number != number:
                return
            rollout, earlier = live.rollout
            try:
                came = await asyncio.to_thread(self._read_on, rollout, earlier)
            except MlopsError as error:
                # It knows all units but those of the last moment.
                self._writer.outage.met(error)
                came = True
            if get() is live and rollout.known is not live.first_arms:
                put(replace(live, first_arms=rollout.known))
            silent_s = 0.0 if came else silent_s + pause_s
            pause_s = min(2 * pause_s, _ROLLOUT_PAUSE_S)

    def _read_on(self, rollout: Rollout, earlier: Sequence[int]) -> bool:
        """Read what has come into the journal since; return whether earlier revisions answered."""
        end = self._journal.end().decisions
        if rollout.after is None:
            self._read_first_arms(rollout, earlier)
            rollout.after = end
            return True
        came = False
        while rollout.after < end:
            rows = self._journal.decisions(rollout.after, end, _ROLLOUT_ROWS)
            rollout.after = int(rows.seqs[-1]) if len(rows) else end
            drawn = zip(
                rows.units, rows.revisions.tolist(), rows.arms.tolist(),
                rows.propensities.tolist(), strict=True,
            )  # fmt: skip
            own = {*earlier, rollout.live}
            came |= rollout.learn(each for each in drawn if each[1] in own and each[3] > 0)
        return came

    def check_key(self) -> None:
        """Check that the journal's request ids are made with this server's key; later, if need be.

        Raises:
            ConflictError: They are made with another.
        """
        try:
            same = is_key_of(
                self._journal,
                self._launch.name,
                self._print,
                adopt=self._launch.new_key,
                now_ms=_now_ms(),
            )
        except RemoteError as error:
            self.fault = self.fault or error.message
            return
        if not same:
            raise different_key(self._launch.name, Path(self._launch.key_file))

    def _check_key_late(self) -> None:
        if self._launch.new_key and not self._starts:
            # The worker that records the start stores it; others might replace a newer one.
            return
        try:
            self.check_key()
        except ConflictError as error:
            # It has answered requests meanwhile, and what it told callers stays valid here.
            self.warning = error.message
            _LOG.error("%s %s", error.message, error.hint)

    def _check_number_late(self, live: LiveRevision) -> None:
        """Warn where the number of the revision was another's: it could not be asked for."""
        number, own = live.served.revision.number, content_of(live.served.revision.spec)
        with contextlib.suppress(RemoteError):
            others = [
                event
                for event in self._journal.revision_events()
                if event.revision == number
                and event.spec is not None
                and is_spec(event)
                and content_of(from_dict(event.spec)) != own
            ]
            if others and not self.warning:
                self.warning = (
                    f"The journal has another revision {number}, and requests of both are counted "
                    "together: it could not be asked when this server started. Restart the server, "
                    "which takes another number."
                )
                _LOG.error("%s", self.warning)

    def record_start(self, live: LiveRevision) -> None:
        """Record that the server serves a revision; later, where it cannot be done now.

        Raises:
            ConflictError: The journal has request ids of another key; it must not serve.
        """
        self._starts = True
        self.check_key()
        facts = self._facts("started", live)
        try:
            self._journal.record(facts)
        except JournalUnavailableError:
            # Before any decision of it: a report could not read what the journal does not know.
            for fact in facts:
                self._writer.add_fact(fact)
        self.specs[live.served.revision.number] = live.served.revision.spec

    def record_live(self, live: LiveRevision) -> None:
        """Record that another revision goes live.

        Raises:
            JournalUnavailableError: It was not; the revision must not answer requests.
        """
        self._journal.record(self._facts("live", live))
        self.specs[live.served.revision.number] = live.served.revision.spec

    def record_note(self, number: int, text: str) -> None:
        """Record a note for the readers of the report.

        Raises:
            JournalUnavailableError: It was not.
        """
        self._journal.record([RevisionEvent(number, _now_ms(), "note", {"text": text})])

    def record_outage(self, number: int, since_ms: int) -> None:
        """Record that the journal could not be written, while a revision served."""
        now_ms = _now_ms()
        if now_ms - since_ms < _OUTAGE_MS:
            return
        begin, end = (
            RevisionEvent(number, since_ms, "unwritable"),
            RevisionEvent(number, now_ms, "writable"),
        )
        with contextlib.suppress(MlopsError):
            self._journal.record([begin, end])

    def record_again(self, live: LiveRevision) -> None:
        """Record what serves in a journal that does not know: a new one, or a backup from before.

        Every process does: another may not write now. Two that look at the same moment both do.

        Raises:
            JournalUnavailableError: It was not.
        """
        number = live.served.revision.number
        try:
            events = self._journal.revision_events()
            if any(event.revision == number and is_spec(event) for event in events):
                return
            self._check_key_late()
            self._journal.record(self._facts("started", live))
        except JournalUnavailableError:
            raise
        except RemoteError as error:
            raise JournalUnavailableError(error.message, hint=error.hint) from error

    def record_stop(self, number: int) -> None:
        """Record that the server has stopped, if that can be done."""
        with contextlib.suppress(MlopsError):
            own = {"server": self._launch.place}
            self._journal.record([RevisionEvent(number, _now_ms(), "stopped", own)])

    def _facts(self, kind: str, live: LiveRevision) -> list[Fact]:
        """What serves from now on, with the classes of its models, and how its arms are drawn."""
        revision = live.served.revision
        classes = {
            each.arm.name: list(each.loaded.classes) for each in live.arms if each.loaded.classes
        }
        document = {**to_dict(revision.spec), "classes": classes, "server": self._launch.place}
        now_ms = _now_ms()
        # First: an epoch is stored once, and without this the event would store the spec's weights.
        first = PolicyEpoch(revision.number, 0, now_ms, live.first_shares)
        return [first, RevisionEvent(revision.number, now_ms, kind, document)]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
