"""Reading one source by date range, for materialization, saved datasets and logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from feast.feature_logging import LOG_TIMESTAMP_FIELD
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from propensity.feast_duckdb import dialect
from propensity.feast_duckdb.relation import Relation
from propensity.feast_duckdb.request import Script, ViewRequest
from propensity.feast_duckdb.spine import unique_name


@dataclass(frozen=True)
class Pull:
    """What to read, in the source's own column names.

    Attributes:
        keys, features: columns; no features means every column of the source.
        timestamp, created: columns of the event time and, if any, of the creation time.
        start, end: inclusive bounds on the event time; None is open. Naive values are UTC.
    """

    keys: Sequence[str]
    features: Sequence[str]
    timestamp: str
    created: str | None
    start: datetime | None
    end: datetime | None

    def names(self, relation: Relation) -> list[str]:
        """Give the result's columns in order, creation time included."""
        wanted = [*self.keys, *self.features, self.timestamp, *([self.created] if self.created else [])]
        everything = list(relation.columns) if not self.features and not relation.is_empty else []
        return list(dict.fromkeys([*wanted, *everything]))


def epoch_microseconds(instant: datetime) -> int:
    """Give microseconds since 1970 UTC, exactly; naive values are UTC."""
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def pull_script(relation: Relation, pull: Pull, *, latest: bool) -> Script:
    """Write the query for all rows of a range, or for the newest row of each key.

    The newest row has the latest event time, then the latest creation time. Rows with a NULL key have no
    newest row and are left out; without keys there is one newest row in all. Sources without keys get Feast's
    dummy key as a column, except logs.

    Raises:
        MissingColumnError: the source lacks a column.
    """
    names = pull.names(relation)
    dummy = [] if pull.keys or pull.timestamp == LOG_TIMESTAMP_FIELD else [DUMMY_ENTITY_ID]
    dummy_column = [f"{dialect.text(DUMMY_ENTITY_VAL)} AS {dialect.name(DUMMY_ENTITY_ID)}" for _ in dummy]
    result = (*names, *dummy)
    if relation.is_empty:
        times = {pull.timestamp, pull.created}
        columns = [f"NULL{'::TIMESTAMPTZ' if name in times else ''} AS {dialect.name(name)}" for name in names]
        return Script((), f"SELECT {', '.join(columns + dummy_column)} WHERE FALSE", result)
    relation.require(names)
    within = _within(relation, pull)
    statements: list[str] = []
    # Rows without numbers can't be fetched twice; a query within a database can't be bound outside it.
    if not relation.row_id and (latest or relation.context):
        relation, statements = relation.staged(unique_name("staged"), names, within)
        within = _within(relation, pull)
    columns = [f"{relation.column(name)} AS {dialect.name(name)}" for name in names]
    selected = ", ".join(columns + dummy_column)
    if not latest:
        query = f"SELECT {selected} FROM {relation.from_sql} AS src WHERE {within}"
        return Script(tuple(statements), query, result)
    keys = [relation.column(key) for key in pull.keys]
    request = ViewRequest("", relation, {}, pull.timestamp, pull.created, (), None)
    known = dialect.conjunction([within, *(f"{key} IS NOT NULL" for key in keys)])
    query = dialect.render(
        "pull_latest",
        columns=selected,
        source=relation.from_sql,
        event_us=relation.epoch_us(pull.timestamp),
        created_us=request.created_us(),
        place=relation.place(),
        same_row=" AND ".join(f"newest.{field} = {column}" for field, column in relation.place_names().items()),
        within=known,
        group_by=f"GROUP BY {', '.join(keys)}" if keys else "",
    )
    return Script(tuple(statements), query, result)


def _within(relation: Relation, pull: Pull) -> str:
    lower, upper = (None if at is None else str(epoch_microseconds(at)) for at in (pull.start, pull.end))
    return relation.between(pull.timestamp, lower, upper)
