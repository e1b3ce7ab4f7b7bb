"""The signals' SQL for Spark: one text, DuckDB's, which sqlglot transpiles.

sqlglot knows both dialects, and leaves a few things to us: `REWRITES`. What a text says must come out in both engines,
so the tests run every file in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from propensity.errors import SettingsError

FILES: Final = "files"
"""The view that stands for `read_parquet(…)`."""


@dataclass(frozen=True)
class SparkStatement:
    """A statement for Spark.

    Attributes:
        name: The relation that it defines; None for a plain SELECT.
        kept: Several others read the relation, so its rows are worth keeping: it is a table for DuckDB.
        query: A SELECT in Spark's SQL. Its rows are in no order: whoever writes them sorts.
    """

    name: str | None
    kept: bool
    query: str


def spark_statements(text: str, where: str, **parameters: str | int | list[str]) -> list[SparkStatement]:
    """Return a text's statements for Spark.

    Args:
        text: DuckDB's SQL: SELECTs, and CREATE OR REPLACE TEMP TABLE or VIEW.
        where: The text's file, for errors.
        parameters: What `$name` stands for. `read_parquet(…)` becomes the view `files`.

    Raises:
        SettingsError: sqlglot can't read the text, or has no words for it in Spark's SQL.
    """
    try:
        return [_translated(statement, parameters) for statement in sqlglot.parse(text, read="duckdb") if statement]
    except SqlglotError as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingsError(f"{where} can't be put into Spark's SQL: {reason} See: docs/signals.md") from error


def _translated(statement: exp.Expr, parameters: dict[str, Any]) -> SparkStatement:
    name, kept, query = None, False, statement
    if isinstance(statement, exp.Create):
        name, kept, query = statement.this.name, statement.kind == "TABLE", statement.expression
    for placeholder in list(query.find_all(exp.Placeholder)):
        if placeholder.name in parameters:
            placeholder.replace(exp.convert(parameters[placeholder.name]))
    for rewrite in REWRITES:
        rewrite(query)
    return SparkStatement(
        name, kept, query.sql(dialect="spark", comments=False, unsupported_level=ErrorLevel.IMMEDIATE)
    )


def no_order(query: exp.Expr) -> None:
    """A task sorts what it writes: the ORDER BY of the whole query would shuffle for nothing."""
    query.set("order", None)


def no_buckets(query: exp.Expr) -> None:
    """`x BETWEEN getvariable(…) AND getvariable(…)`: Spark has all customers at once, divided among its tasks."""
    for between in list(query.find_all(exp.Between)):
        if any(function.name.upper() == "GETVARIABLE" for function in between.find_all(exp.Anonymous)):
            between.replace(exp.true())


def files_as_view(query: exp.Expr) -> None:
    """`read_parquet(…)`: Spark's reader has other options, so whoever runs the statement creates the view."""
    for read in list(query.find_all(exp.ReadParquet)):
        table = read.find_ancestor(exp.Table)
        if table is not None:
            table.replace(exp.to_table(FILES))


def instants(query: exp.Expr) -> None:
    """`epoch_us(t)` and `timezone(zone, t)`, which sqlglot takes for functions that it doesn't know."""
    for function in list(query.find_all(exp.Anonymous)):
        if function.name.upper() == "EPOCH_US":
            function.replace(exp.UnixMicros(this=function.expressions[0]))
        elif function.name.upper() == "TIMEZONE":
            zone, instant = function.expressions
            # The session is in UTC: what it takes for an instant then is the zone's local time.
            function.replace(exp.AtTimeZone(this=instant, zone=zone))


def weekdays(query: exp.Expr) -> None:
    """`isodow(t)`: sqlglot writes `dayofweek(t) % 7 + 1`, which is 3 on a Monday, not 1."""
    for weekday in list(query.find_all(exp.DayOfWeekIso)):
        monday_is_0 = exp.Anonymous(this="WEEKDAY", expressions=[weekday.this])
        weekday.replace(exp.Paren(this=exp.Add(this=monday_is_0, expression=exp.Literal.number(1))))


def named_windows(query: exp.Expr) -> None:
    """`OVER (name ROWS …)`: Spark can't give a named window a frame, so each name is spelled out."""
    for select in query.find_all(exp.Select):
        named = {window.name: window for window in select.args.get("windows") or ()}
        select.set("windows", None)
        for window in list(select.find_all(exp.Window)):
            origin = named.get(window.text("alias"))
            if origin is not None:
                window.set("alias", None)
                for part in ("partition_by", "order", "spec"):
                    if not window.args.get(part):
                        window.set(part, _copied(origin.args.get(part)))


def _copied(part: Any) -> Any:
    if isinstance(part, list):
        return [each.copy() for each in part]
    return None if part is None else part.copy()


def ordered_lists(query: exp.Expr) -> None:
    """`list(x ORDER BY y)`: Spark's lists have no order, and sqlglot drops it. So pairs are sorted by y, then x taken.

    Spark's list leaves NULLs out, where DuckDB's has them; pairs are never NULL.
    """
    for aggregate in list(query.find_all(exp.ArrayAgg)):
        order = aggregate.this
        if not isinstance(order, exp.Order):
            continue
        if len(order.expressions) != 1 or order.expressions[0].args.get("desc"):
            raise SqlglotError(f"{aggregate.sql('duckdb')} has another order than one rising column.")
        pair = exp.func(
            "NAMED_STRUCT",
            exp.Literal.string("place"),
            order.expressions[0].this,
            exp.Literal.string("item"),
            order.this,
        )
        outer = aggregate.parent if isinstance(aggregate.parent, exp.Filter) else aggregate
        pairs = exp.Anonymous(this="COLLECT_LIST", expressions=[pair])
        collected = pairs if outer is aggregate else exp.Filter(this=pairs, expression=outer.expression)
        outer.replace(
            exp.Transform(
                this=exp.Anonymous(this="ARRAY_SORT", expressions=[collected]),
                expression=exp.Lambda(
                    this=exp.Dot(this=exp.to_identifier("pair"), expression=exp.to_identifier("item")),
                    expressions=[exp.to_identifier("pair")],
                ),
            )
        )


def safe_division(query: exp.Expr) -> None:
    """`x / 0`: Spark raises where DuckDB has no finite number, which isn't stored."""
    for division in list(query.find_all(exp.Div)):
        division.replace(exp.SafeDivide(this=division.this, expression=division.expression))


REWRITES: Final[tuple[Callable[[exp.Expr], None], ...]] = (
    no_order,
    no_buckets,
    files_as_view,
    instants,
    weekdays,
    named_windows,
    ordered_lists,
    safe_division,
)
