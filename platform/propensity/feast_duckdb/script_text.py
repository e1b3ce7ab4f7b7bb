"""A job's SQL as text that a person can run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa

from propensity.feast_duckdb import dialect
from propensity.feast_duckdb.connection import Session
from propensity.feast_duckdb.request import Script

_MOST_ROWS_WRITTEN_OUT = 1_000


def script_text(session: Session, script: Script) -> str:
    """Join a session's preamble, its frames and a script's statements to one text."""
    frames = [_frame(session, view, rows) for view, rows in session.frames.items()]
    statements = [*session.preamble, *frames, *script.preparation, *script.statements, script.query]
    return ";\n\n".join(statements) + ";\n"


def _frame(session: Session, view: str, rows: pa.Table) -> str:
    kinds = session.describe(f"SELECT * FROM {view}")
    values = [
        [_literal(row[column]) for column in rows.column_names]
        for row in rows.slice(0, _MOST_ROWS_WRITTEN_OUT).to_pylist()
    ]
    if rows.num_rows > _MOST_ROWS_WRITTEN_OUT or any(value is None for row in values for value in row):
        columns = ", ".join(f"{column} {kind}" for column, kind in kinds.items())
        return f"-- First create the entity rows, {rows.num_rows} in this job: {view}({columns})\nSELECT 1"
    casts = ", ".join(f"CAST({column} AS {_castable(kind)}) AS {column}" for column, kind in kinds.items())
    listed = ", ".join(f"({', '.join(value or '' for value in row)})" for row in values)
    empty = not listed
    listed = listed or f"({', '.join('NULL' for _ in kinds)})"
    where = " WHERE FALSE" if empty else ""
    values_sql = f"(VALUES {listed}) AS given({', '.join(kinds)})"
    return f"CREATE TEMP TABLE {view} AS SELECT {casts} FROM {values_sql}{where}"


def _castable(kind: str) -> str:
    return "INTEGER" if kind.strip('"') == "NULL" else kind


def _literal(value: Any) -> str | None:
    """Write a value as SQL; None for values that have no plain literal."""
    if value is None:
        return "NULL"
    if isinstance(value, (str, datetime)):
        return dialect.text(str(value))
    return repr(value) if isinstance(value, (bool, int, float)) else None
