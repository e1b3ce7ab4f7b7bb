"""The result of a search as a piece of `propensity.toml`, beside what is set now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.experiments.cutoff_result import local_day
from propensity.experiments.search_space import SEARCH_SPACE

if TYPE_CHECKING:
    from propensity.experiments.tuning import Trial, Tuning
    from propensity.settings import Settings


def tuning_toml(tuning: Tuning, settings: Settings) -> str:
    """Return TOML text that sets the best trial's settings, with the current ones and both losses as comments."""
    best, current = tuning.best, tuning.current
    windows = " and ".join(local_day(settings, as_of) for as_of in tuning.windows)
    given_up = sum(trial.reason is not None for trial in tuning.trials)
    as_of = local_day(settings, tuning.as_of)
    lines = [
        f"# Region {settings.region}, as of {as_of}: {len(tuning.trials) - 1} trials, {given_up} given up early.",
        f"# Mean log loss on the label windows from {windows}:",
        f"#   now   {_losses(current)}",
        f"#   best  {_losses(best)}",
    ]
    if best.current:
        lines.append("# No trial was better than the current settings: these are they.")
    else:
        lines.append("# The best of many is flattered by the choice; look at later windows: propensity backtest")
    lines.append("[training]")
    for name in SEARCH_SPACE:
        value, now = _value(getattr(best.training, name)), _value(getattr(current.training, name))
        lines.append(f"{name} = {value}" if value == now else f"{name + ' = ' + value:<36} # now {now}")
    return "\n".join(lines) + "\n"


def _losses(trial: Trial) -> str:
    return f"{trial.loss:.5f} ({', '.join(f'{loss:.5f}' for loss in trial.losses)})"


def _value(value: float | tuple[int, ...]) -> str:
    """Write a number or a list as TOML does: a float with a point or an exponent."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return repr(value)
