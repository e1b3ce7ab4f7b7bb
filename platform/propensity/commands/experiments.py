"""Commands that judge a configuration: over a series of cut-offs, or in search of a better one."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.text import Text

from propensity.commands.options import (
    AsOfOption,
    BaselinesOption,
    HomeOption,
    RegionOption,
    platform_of,
    series,
)
from propensity.console import ConsoleObserver, messages, output
from propensity.errors import SettingsError

experiments = typer.Typer()

UNITS: Final = {"s": 1, "m": 60, "h": 3600}


@experiments.command()
def backtest(
    first: Annotated[str, typer.Option("--from", help="First cut-off.")],
    last: Annotated[str, typer.Option("--to", help="Last cut-off; the label window behind it must have ended.")],
    every: Annotated[str, typer.Option("--every", help="Step between cut-offs, e.g. 30d.")] = "30d",
    baselines: BaselinesOption = "simple",
    *,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep the artifacts below home/backtests; they never score.")
    ] = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Train as of successive cut-offs, test on the window behind each beside the baselines. Goes on where stopped."""
    from propensity.experiments.backtest_table import backtest_table, summary  # noqa: PLC0415 - as for Platform

    platform = platform_of(home, region)
    as_ofs = series(platform, None, first, last, every)
    with ConsoleObserver() as observer:
        result = platform.backtest(as_ofs, baselines=baselines, keep_models=keep_models, observer=observer)
    output.print(backtest_table(result.results, platform.settings))
    output.print(Text(summary(result.results)))
    messages.print(Text(f"{result.computed} of {len(result.results)} cut-offs computed. Report: {result.directory}"))


@experiments.command()
def tune(
    as_of: AsOfOption,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Trials beside the current settings, earlier calls' counted in.")
    ] = 30,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Begin no trial later than this, e.g. 90s, 30m or 2h.")
    ] = None,
    windows: Annotated[int, typer.Option("--windows", min=2, help="Validation windows before the as_of.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is tried; the same seed tries the same.")] = 7,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Search training settings on windows that ended by the as_of; print the best as TOML and change nothing."""
    from propensity.experiments.tuning_toml import tuning_toml  # noqa: PLC0415 - as for Platform

    platform = platform_of(home, region)
    with ConsoleObserver() as observer:
        result = platform.tune(
            as_of,
            trials=trials,
            timeout_seconds=None if timeout is None else _seconds(timeout),
            windows=windows,
            seed=seed,
            observer=observer,
        )
    output.print(Text(tuning_toml(result, platform.settings)), end="")
    messages.print(Text(f"{result.computed} trials computed by this call. Study: {result.study}"))


def _seconds(timeout: str) -> float:
    number, unit = timeout[:-1], timeout[-1:]
    if not number.isdecimal() or unit not in UNITS or int(number) == 0:
        raise SettingsError(f"--timeout {timeout!r} is no length of time. Give for example 90s, 30m or 2h.")
    return float(int(number) * UNITS[unit])
