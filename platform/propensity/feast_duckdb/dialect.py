"""DuckDB's SQL dialect: quoting, time as integers, and the templates under sql/."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from string import Template

from propensity.feast_duckdb.errors import SourceDefinitionError

_TIMESTAMP_TYPES = {
    "TIMESTAMP WITH TIME ZONE": "make_timestamptz({us})",
    "TIMESTAMP": "make_timestamp({us})",
    "TIMESTAMP_S": "make_timestamp({us})::TIMESTAMP_S",
    "TIMESTAMP_MS": "make_timestamp({us})::TIMESTAMP_MS",
    "TIMESTAMP_NS": "make_timestamp_ns(greatest(least({us}, 9223372036854774), -9223372036854774) * 1000{rest})",
    "DATE": "make_timestamp({us})::DATE",
}


def name(identifier: str) -> str:
    """Quote an identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """Quote a string literal."""
    return "'" + value.replace("'", "''") + "'"


def text_list(values: Iterable[str]) -> str:
    """Write a list literal of strings."""
    return "[" + ", ".join(text(value) for value in values) + "]"


def qualified(table: str) -> str:
    """Quote a table name; dots separate catalog, schema and table unless it is quoted already."""
    return table if '"' in table else ".".join(name(part) for part in table.split("."))


def is_timestamp(duckdb_type: str) -> bool:
    """Tell whether a DuckDB type is an instant that a scan can be bounded by."""
    return duckdb_type in _TIMESTAMP_TYPES


def is_microseconds(duckdb_type: str) -> bool:
    """Tell whether a DuckDB type holds whole microseconds, so that bounds on the column are exact."""
    return duckdb_type in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP")


def epoch_us(column: str, duckdb_type: str, label: str) -> str:
    """Write a column of instants as microseconds since 1970 UTC; zoneless values are taken as UTC.

    Integers compare and subtract exactly, and many times faster than calendar arithmetic.

    Raises:
        SourceDefinitionError: the type holds no instants.
    """
    if is_timestamp(duckdb_type):
        return f"epoch_us({column})"
    if duckdb_type in ("VARCHAR", '"NULL"', "NULL"):
        return f"epoch_us(CAST({column} AS TIMESTAMPTZ))"
    raise SourceDefinitionError(
        f"{label}: column {column} has type {duckdb_type}, which is no timestamp. "
        "Use a TIMESTAMP, TIMESTAMPTZ, DATE or ISO 8601 text column, or convert it in a query source."
    )


def bound(column: str, duckdb_type: str, operator: str, us: str) -> str | None:
    """Compare a raw timestamp column to microseconds, in the column's own type.

    Only a comparison on the bare column lets DuckDB skip Parquet row groups by their statistics. None if the
    type has no such form. It may let more rows through than the exact comparison in whole microseconds that must
    follow, never fewer, whichever way the column's own precision rounds.
    """
    form = _TIMESTAMP_TYPES.get(duckdb_type)
    if form is None:
        return None
    if is_microseconds(duckdb_type):
        return f"{column} {operator} {form.format(us=us)}"
    is_lower = operator in (">", ">=")
    return f"{column} {'>=' if is_lower else '<='} {form.format(us=us, rest='' if is_lower else ' + 999')}"


def conjunction(conditions: Iterable[str | None]) -> str:
    """Join conditions by AND; no condition is TRUE."""
    return " AND ".join(condition for condition in conditions if condition) or "TRUE"


@cache
def _template(file_name: str) -> Template:
    return Template((Path(__file__).parent / "sql" / f"{file_name}.sql").read_text(encoding="utf-8").strip())


def render(file_name: str, **parts: str) -> str:
    """Fill in sql/<file_name>.sql."""
    return _template(file_name).substitute(parts)
