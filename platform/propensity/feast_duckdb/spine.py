"""The spine: the rows that features are joined to, numbered in the order in which they came."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError

from propensity.feast_duckdb import dialect, types
from propensity.feast_duckdb.connection import Session
from propensity.feast_duckdb.errors import EntityFrameError

EVENT_TIMESTAMP = "event_timestamp"
_ROW_GROUP = 122_880  # DuckDB's unit of parallel work on a table


@dataclass(frozen=True)
class Spine:
    """A temporary table of the entity rows.

    Its columns are e0, e1, … for the caller's columns in order, `event_us` for the event time in microseconds since
    1970 UTC, and `pos` for the place in the caller's order. No caller's name enters the database, so none is
    reserved.

    Attributes:
        table: its name.
        names: the caller's column names.
        kinds: their DuckDB types.
        statements: what makes the table.
        is_small: whether the table is known to fit one of DuckDB's row groups, so that one thread has all the work.
    """

    table: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    statements: tuple[str, ...]
    is_small: bool = False

    def column(self, name: str) -> str:
        """Write a reference to a caller's column."""
        return f"spine.e{self.names.index(name)}"

    def kind(self, name: str) -> str:
        """Give a caller's column's DuckDB type."""
        return self.kinds[self.names.index(name)]

    def require(self, join_keys: Sequence[str]) -> None:
        """Check that the join keys are there.

        Raises:
            FeastEntityDFMissingColumnsError: some aren't.
        """
        missing = set(join_keys) - set(self.names)
        if missing:
            raise FeastEntityDFMissingColumnsError(set(join_keys), missing)  # type: ignore[no-untyped-call]


def unique_name(purpose: str) -> str:
    """Give a name that no table or column of the caller's bears."""
    return f"feast_{purpose}_{uuid.uuid4().hex}"


def entity_table(entity_df: Any) -> pa.Table:
    """Convert an entity frame to Arrow: timestamps in UTC microseconds, text event times parsed.

    The frame itself is left as it is.

    Args:
        entity_df: pandas DataFrame, or anything that Arrow can read without copying (`__arrow_c_stream__`).

    Raises:
        EntityFrameError: the frame is of another kind, or its event times can't be read.
        EntityTimestampInferenceException: there is no event_timestamp, nor exactly one timestamp column.
    """
    if isinstance(entity_df, pd.DataFrame):
        rows = pa.Table.from_pandas(_parsed(entity_df), preserve_index=False)
    elif isinstance(entity_df, pa.Table):
        rows = entity_df
    elif isinstance(entity_df, pa.RecordBatch) or hasattr(entity_df, "__arrow_c_stream__"):
        rows = pa.table(entity_df)
    else:
        raise EntityFrameError(
            "An entity frame must be a pandas DataFrame, an Arrow table or a SQL query, "
            f"not {type(entity_df).__name__}."
        )
    names = tuple(str(name) for name in rows.column_names)
    if len(set(names)) < len(names):
        raise EntityFrameError(f"The entity frame has columns of equal name: {', '.join(names)}.")
    rows = types.conform(rows, types.boundary_schema(rows.schema, names))
    index = names.index(event_timestamp_name(dict(zip(names, map(str, rows.schema.types), strict=True))))
    if not pa.types.is_timestamp(rows.schema.field(index).type):
        times = rows.column(index).cast(types.UTC_MICROSECONDS)
        rows = rows.set_column(index, names[index], times)
    return rows


def _parsed(frame: pd.DataFrame) -> pd.DataFrame:
    if EVENT_TIMESTAMP not in frame.columns:
        return frame
    times = frame[EVENT_TIMESTAMP]
    if not (pd.api.types.is_object_dtype(times) or pd.api.types.is_string_dtype(times)):
        return frame
    is_text = all(isinstance(time, str) for time in times)
    try:
        parsed = pd.to_datetime(times, utc=True, format="ISO8601" if is_text else None)
    except (ValueError, TypeError) as error:
        raise EntityFrameError(f"The entity frame's event_timestamp can't be read as time: {error}") from error
    return frame.assign(**{EVENT_TIMESTAMP: parsed})


def event_timestamp_name(kinds: Mapping[str, str]) -> str:
    """Choose the event time's column as Feast does: by name, or the only timestamp there is."""
    if EVENT_TIMESTAMP in kinds:
        return EVENT_TIMESTAMP
    candidates = [name for name, kind in kinds.items() if kind.lower().startswith("timestamp")]
    if len(candidates) != 1:
        raise EntityTimestampInferenceException(EVENT_TIMESTAMP)
    return candidates[0]


def keys_and_range(rows: pa.Table) -> tuple[list[str], datetime | None, datetime | None]:
    """Give an entity table's columns other than the event time, and its first and last event time."""
    kinds = dict(zip(rows.column_names, map(str, rows.schema.types), strict=True))
    event = event_timestamp_name(kinds)
    bounds = pc.min_max(rows.column(event))
    return [name for name in rows.column_names if name != event], bounds["min"].as_py(), bounds["max"].as_py()


def spine_of_frame(session: Session, rows: pa.Table) -> Spine:
    """Put an entity table before DuckDB."""
    names = tuple(rows.column_names)
    given = unique_name("entities")
    session.register(given, rows.rename_columns([f"e{index}" for index in range(len(names))]))
    kinds = tuple(session.describe(f"SELECT * FROM {given}").values())
    spine = _numbered(names, kinds, f"SELECT * FROM {given}", None)
    return replace(spine, is_small=rows.num_rows <= _ROW_GROUP)


def spine_of_query(session: Session, query: str, context: str | None) -> Spine:
    """Make a spine of a SQL query; its rows keep the query's order.

    Args:
        session: where it will run.
        query: a SELECT; `{base_path}` stands for the base directory.
        context: alias of the database in which its tables are looked up.
    """
    query = query.strip().rstrip(";").replace("{base_path}", str(session.settings.base_path))
    columns = session.describe(query, context)
    renamed = ", ".join(f"e{index}" for index in range(len(columns)))
    rows = f"SELECT * FROM ({query}) AS given({renamed})"
    return _numbered(tuple(columns), tuple(columns.values()), rows, context)


def _numbered(names: tuple[str, ...], kinds: tuple[str, ...], rows: str, context: str | None) -> Spine:
    table = unique_name("spine")
    event = names.index(event_timestamp_name(dict(zip(names, kinds, strict=True))))
    timezoned = f"CAST(e{event} AS TIMESTAMPTZ)"
    create = (
        f"CREATE TEMP TABLE {table} AS SELECT * REPLACE ({timezoned} AS e{event}), "
        f"epoch_us({timezoned}) AS event_us, row_number() OVER () AS pos FROM ({rows})"
    )
    within = (f"USE {dialect.name(context)}", create, "USE memory") if context else (create,)
    return Spine(table, names, kinds, within)
