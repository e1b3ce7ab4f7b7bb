"""Options that several commands share, and the platform they lead to."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from propensity.errors import SettingsError

if TYPE_CHECKING:
    from propensity.api import Platform

HomeOption = Annotated[Path | None, typer.Option("--home", help="Directory of lake, catalogue and models.")]
RegionOption = Annotated[str | None, typer.Option("--region", help="Market to work on.")]
AsOfOption = Annotated[str, typer.Option("--as-of", help="Date (midnight in the region's time zone) or ISO instant.")]
OptionalAsOfOption = Annotated[str | None, typer.Option("--as-of", help="One date or ISO instant.")]
FirstOption = Annotated[str | None, typer.Option("--from", help="First date of a series.")]
LastOption = Annotated[str | None, typer.Option("--to", help="Last date of a series.")]
EveryOption = Annotated[str | None, typer.Option("--every", help="Step of a series, e.g. 7d.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Model version; by default the champion.")]
BaselinesOption = Annotated[
    str, typer.Option("--baselines", help="What to compare with: all, simple, or names separated by commas.")
]
EngineOption = Annotated[str | None, typer.Option("--engine", help="What scores: local or spark.")]
BuilderOption = Annotated[str | None, typer.Option("--engine", help="What runs the SQL: local (DuckDB) or spark.")]
MasterOption = Annotated[str | None, typer.Option("--master", help="URL of Spark's master, with --engine spark.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
CsvOption = Annotated[Path | None, typer.Option("--csv", help="Write CSV to this file; - is standard output.")]


def platform_of(home: Path | None, region: str | None, **groups: Any) -> Platform:
    """Return the platform of these flags; what is None comes from elsewhere, as other settings do.

    Args:
        home: Setting `home`.
        region: Setting `region`.
        groups: Flags by the names of a group's settings, such as `scoring={"engine": "spark"}`.

    Raises:
        SettingsError: A setting is unknown or out of range.
    """
    from propensity.api import Platform  # noqa: PLC0415 - half a second that `--help` needn't wait for

    given: dict[str, Any] = {
        name: {flag: value for flag, value in flags.items() if value is not None} for name, flags in groups.items()
    }
    return Platform(home=home, region=region, **given)


def series(
    platform: Platform, as_of: str | None, first: str | None, last: str | None, every: str | None
) -> list[datetime]:
    """Return the as_ofs that `--as-of`, or `--from`, `--to` and `--every`, name.

    Raises:
        SettingsError: They contradict each other, or one isn't a date or a number of days.
    """
    if as_of and not (first or last or every):
        return [platform.as_of(as_of)]
    if as_of or not (first and last):
        raise SettingsError("Give either --as-of DATE, or --from DATE --to DATE and perhaps --every 7d.")
    return platform.as_ofs(first, last, every_days=None if every is None else days("--every", every))


def days(option: str, text: str) -> int:
    """Read a number of days such as `7d`.

    Raises:
        SettingsError: It is none; the message names the option.
    """
    if not (text.endswith("d") and text[:-1].isdecimal() and int(text[:-1]) > 0):
        raise SettingsError(f"{option} {text!r} is no number of days. Give for example 7d.")
    return int(text[:-1])
