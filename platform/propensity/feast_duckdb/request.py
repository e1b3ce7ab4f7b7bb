"""What a retrieval is made of: the script that runs, and what one view adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from propensity.feast_duckdb.relation import Relation

_NEVER_CREATED = "(-9223372036854775807)"  # rows without a creation time lose every tie


@dataclass(frozen=True)
class Script:
    """Statements to run in order on one connection, and the query that then gives the rows.

    Attributes:
        statements: set-up.
        query: the result; its columns come in the order of `names`.
        names: the result's column names, free of the rules that SQL has for names.
        pieces: queries that give the same rows in the same order, some columns each; put side by side they are the
            result. Who wants all of it takes these, since then the lists of one view at a time are sorted.
        preparation: what comes before `statements`, too small for a second thread to be of use.
        is_modest: few entity rows and few bytes of files: all of it is best done by one thread.
    """

    statements: tuple[str, ...]
    query: str
    names: tuple[str, ...]
    pieces: tuple[str, ...] = ()
    preparation: tuple[str, ...] = ()
    is_modest: bool = False


@dataclass(frozen=True)
class ViewRequest:
    """What one feature view adds to the result.

    Attributes:
        view: its name, for messages.
        relation: where its rows are.
        keys: spine column -> source column.
        timestamp, created: source columns of the event time and, if any, of the creation time.
        features: (output name, source column, declared Feast type), in output order.
        ttl_us: for how many microseconds a row lives, its last instant included; None for ever.
    """

    view: str
    relation: Relation
    keys: dict[str, str]
    timestamp: str
    created: str | None
    features: tuple[tuple[str, str, Any], ...]
    ttl_us: int | None

    def event_us(self) -> str:
        """Write the event time in microseconds."""
        return self.relation.epoch_us(self.timestamp)

    def created_us(self) -> str:
        """Write the creation time in microseconds."""
        if self.created is None:
            return _NEVER_CREATED
        return f"coalesce({self.relation.epoch_us(self.created)}, {_NEVER_CREATED})"

    def require(self) -> None:
        """Check that the source has each column that the view names.

        Raises:
            MissingColumnError: it hasn't.
        """
        role = f"needed by feature view {self.view!r}"
        created = [self.created] if self.created else []
        features = [source for _, source, _ in self.features]
        self.relation.require([*self.keys.values(), self.timestamp, *created, *features], role)


@dataclass(frozen=True)
class Window:
    """The event times that can matter to a view, as SQL in microseconds; no `lower` reaches back for ever."""

    lower: str | None
    upper: str
