"""Axes: from a quantity to pixels, and which ticks are round."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from propensity.errors import InputError


@dataclass(frozen=True)
class Axis:
    """A quantity along one direction of a chart.

    Attributes:
        label: What it is, with its unit.
        low: Value at the axis' start.
        high: Value at its end.
        ticks: Values that are marked.
        log: Equal ratios are equal lengths.
        written: Writes a tick's value.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    written: Callable[[float], str] = lambda value: f"{value:g}"

    def share(self, value: float) -> float:
        """Return where `value` is, 0 at the start and 1 at the end; what lies outside is put at the edge."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low))
        return min(1.0, max(0.0, (at - low) / (high - low)))


def linear(
    label: str,
    values: list[float],
    *,
    zero: bool = False,
    n_ticks: int = 5,
    written: Callable[[float], str] | None = None,
) -> Axis:
    """Return an axis with round ends around `values`, those that are finite; with `zero` it starts at 0."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if low == high:
        spread = abs(low) or 1.0
        low, high = low - spread / 2, high + spread / 2
    step = _round_step((high - low) / n_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (step / 10 ** math.floor(math.log10(step)) % 1 > 1e-6))
    # The tolerance above keeps 0.3 at the tick 0.3; it must not leave a value outside.
    first -= round(first * step, 12) > low
    last += round(last * step, 12) < high
    ticks = tuple(round(number * step, 12) for number in range(first, last + 1))
    return Axis(label, ticks[0], ticks[-1], ticks, written=written or (lambda value: f"{value:,.{digits}f}"))


def logarithmic(
    label: str, values: list[float], *, floor: float, written: Callable[[float], str] | None = None
) -> Axis:
    """Return an axis from one power of ten to another around `values`; those below `floor` count as `floor`.

    Raises:
        InputError: `floor` isn't above 0.
    """
    if floor <= 0:
        raise InputError(f"A logarithmic axis needs a floor above 0, not {floor}.")
    finite = [max(value, floor) for value in values if math.isfinite(value)] or [floor]
    first = math.floor(math.log10(min(finite)) + 1e-9)
    last = max(first + 1, math.ceil(math.log10(max(finite)) - 1e-9))
    ticks = tuple(float(f"1e{power}") for power in range(first, last + 1))
    return Axis(label, ticks[0], ticks[-1], ticks, log=True, written=written or _short)


def shares(label: str) -> Axis:
    """Return the axis of a share from 0 to 1, in percent."""
    return Axis(label, 0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), written=lambda value: f"{value:.0%}")


def in_percent(share: float) -> str:
    """Write a share as percent, as short as it can be."""
    return f"{100 * share:.6g}%"


def _short(value: float) -> str:
    return f"{value / 1e6:,g}M" if value >= 1e6 else f"{value:,g}"


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(times * magnitude for times in (1.0, 2.0, 2.5, 5.0, 10.0) if times * magnitude >= rough * (1 - 1e-9))
