"""Commands that only read: what there is, and who is likely to do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import duckdb
import typer

from propensity.commands.options import CsvOption, HomeOption, JsonOption, RegionOption, platform_of
from propensity.console import messages, print_frame, print_rows
from propensity.errors import InputError
from propensity.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

reading = typer.Typer()


@reading.command()
def config(home: HomeOption = None, region: RegionOption = None) -> None:
    """Print every setting with its value, meaning and how to change it."""
    settings = load_settings(home=home, region=region)
    print_rows(("setting", "value", "meaning"), list(_options(settings)))
    messages.print("Change one by environment (PROPENSITY_TRAINING__EPOCHS=3), in propensity.toml, or by a flag.")


def _options(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if hasattr(type(value), "model_fields"):
            yield from _options(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value), field.description or ""


@reading.command()
def categories(home: HomeOption = None, region: RegionOption = None) -> None:
    """List the region's categories, one a line."""
    for name in platform_of(home, region).categories():
        typer.echo(name)


@reading.command()
def top(
    customer: Annotated[str, typer.Argument(help="customer_id")],
    n: Annotated[int, typer.Option("--n", help="How many categories.")] = 5,
    *,
    as_json: JsonOption = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Show a customer's likeliest categories, from Feast's online store."""
    import pandas as pd  # noqa: PLC0415 - as for Platform

    found = platform_of(home, region).top(customer, n)
    if as_json:
        print_frame(pd.DataFrame(found), as_json=True)
        return
    print_rows(
        ("category", "propensity"),
        [(entry.category, f"{entry.propensity:.4f}") for entry in found],
        title=f"Customer {customer}, as of {found[0].as_of:%Y-%m-%d %H:%MZ}, model {found[0].model_version}",
    )


@reading.command()
def audience(
    category: Annotated[str, typer.Argument(help="Category name.")],
    n: Annotated[int, typer.Option("--top", help="How many customers.")] = 10,
    minimum: Annotated[float, typer.Option("--min", help="Leave out customers below this propensity.")] = 0.0,
    event_type: Annotated[
        str | None, typer.Option("--event-type", help="Likeliest to do this, or more; default anything labels count.")
    ] = None,
    csv: CsvOption = None,
    *,
    as_json: JsonOption = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Show the customers likeliest to act in a category, from the propensity table."""
    found = platform_of(home, region).audience(category, n, minimum=minimum, event_type=event_type)
    print_frame(found, as_json=as_json, csv=csv)


@reading.command()
def sql(
    query: Annotated[str, typer.Argument(help="For example: SELECT * FROM top_categories LIMIT 5")],
    csv: CsvOption = None,
    *,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Run SQL over the catalogue and the views (propensity, propensity_latest, propensity_long, top_categories …)."""
    try:
        found = platform_of(home, None).sql(query)
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f'{reason} See the tables: propensity sql "SHOW TABLES"') from error
    print_frame(found, as_json=as_json, csv=csv)
