"""What was seen of each live model, kept in the journal by the consumer that folds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from mlops.journal.base import Journal


class Seen(Protocol):
    """What was seen of one model."""

    #: Last row of the journal's log that it has seen.
    offset: int

    def document(self) -> Any:  # noqa: ANN401 - JSON data
        """Return it as it is kept."""
        ...


_Model = TypeVar("_Model", bound=Seen)


class ModelFold(Generic[_Model]):
    """Models by their key, each with what was seen of it.

    Args:
        journal: Read from, and written to by `save` only.
    """

    #: Name of the consumer under which it is kept.
    consumer: ClassVar[str]

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._models: dict[str, _Model] = {}
        self._saved: dict[str, int] = {}

    @property
    def offset(self) -> int:
        """Last row that all models have seen."""
        return min((model.offset for model in self._models.values()), default=0)

    def save(self, now_ms: int, others: Mapping[str, Any]) -> None:
        """Store what was seen since the last time.

        Args:
            now_ms: Now, milliseconds since 1970 in UTC.
            others: Further parts to store with it, name to JSON data.
        """
        new = {k: m for k, m in self._models.items() if self._saved.get(k) != m.offset}
        documents = {key: model.document() for key, model in new.items()}
        self._journal.remember(self.consumer, {**documents, **others}, now_ms)
        self._saved.update({key: model.offset for key, model in new.items()})
