"""Which training settings a search may choose, and from what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from propensity.settings import TrainingSettings

if TYPE_CHECKING:
    from types import ModuleType

DIGITS: Final = 3
"""Significant digits of a number that is tried: what is printed is what was measured."""

Value = float | int | str


class Choice(Protocol):
    """The values one setting may take."""

    def distribution(self, optuna: ModuleType, current: Any) -> Any:
        """Return Optuna's distribution; it holds `current`, where that is possible at all."""
        ...

    def drawn(self, current: Any) -> Value | None:
        """Return the setting's value as Optuna keeps it, or None where the distribution can't hold it."""
        ...

    def setting(self, drawn: Value) -> Any:
        """Return the setting's value for what Optuna has drawn."""
        ...


@dataclass(frozen=True)
class Real:
    """A real number between two others.

    Attributes:
        low: Lowest, above 0 if `log`.
        high: Highest.
        log: Equal ratios are equally likely.
    """

    low: float
    high: float
    log: bool = False

    def distribution(self, optuna: ModuleType, current: float) -> Any:
        """See `Choice`."""
        inside = [current] if self.drawn(current) is not None else []
        low, high = min(self.low, *inside, self.high), max(self.high, *inside, self.low)
        return optuna.distributions.FloatDistribution(low, high, log=self.log)

    def drawn(self, current: float) -> float | None:
        """See `Choice`; a logarithmic scale has no zero."""
        return None if self.log and current <= 0 else current

    def setting(self, drawn: Value) -> float:
        """See `Choice`."""
        return float(f"{float(drawn):.{DIGITS}g}")


@dataclass(frozen=True)
class Whole:
    """A whole number between two others, both above 0; equal ratios are equally likely."""

    low: int
    high: int

    def distribution(self, optuna: ModuleType, current: int) -> Any:
        """See `Choice`."""
        return optuna.distributions.IntDistribution(min(self.low, current), max(self.high, current), log=True)

    def drawn(self, current: int) -> int:
        """See `Choice`."""
        return current

    def setting(self, drawn: Value) -> int:
        """See `Choice`."""
        return int(drawn)


@dataclass(frozen=True)
class OneOf:
    """One of some whole numbers."""

    values: tuple[int, ...]

    def distribution(self, optuna: ModuleType, current: int) -> Any:
        """See `Choice`."""
        return optuna.distributions.CategoricalDistribution(sorted({*self.values, current}))

    def drawn(self, current: int) -> int:
        """See `Choice`."""
        return current

    def setting(self, drawn: Value) -> int:
        """See `Choice`."""
        return int(drawn)


@dataclass(frozen=True)
class Widths:
    """The widths of some layers; Optuna keeps them as text such as `64-32`."""

    values: tuple[tuple[int, ...], ...]

    def distribution(self, optuna: ModuleType, current: tuple[int, ...]) -> Any:
        """See `Choice`."""
        return optuna.distributions.CategoricalDistribution(
            [self.drawn(each) for each in sorted({*self.values, current})]
        )

    def drawn(self, current: tuple[int, ...]) -> str:
        """See `Choice`."""
        return "-".join(map(str, current))

    def setting(self, drawn: Value) -> tuple[int, ...]:
        """See `Choice`."""
        return tuple(int(width) for width in str(drawn).split("-") if width)


SEARCH_SPACE: Final[dict[str, Choice]] = {
    "learning_rate": Real(5e-4, 8e-3, log=True),
    "epochs": Whole(3, 10),
    "batch_size": OneOf((32, 64, 128, 256)),
    "dropout": Real(0.0, 0.7),
    "aligned_dropout": Real(0.0, 0.5),
    "hidden": Widths(((32, 16), (64, 32), (128, 32), (128, 64), (256, 64))),
    "aligned_hidden": Widths(((32, 16), (64, 32), (128, 64))),
    "embedding": Whole(4, 32),
    "context": Whole(4, 32),
    "weight_decay": Real(1e-6, 1e-3, log=True),
    "category_weight_decay": Real(1e-3, 0.1, log=True),
}
"""By the names of `TrainingSettings`. A current value outside is taken in."""


def distributions(optuna: ModuleType, current: TrainingSettings) -> dict[str, Any]:
    """Return Optuna's distribution of every searched setting."""
    return {name: choice.distribution(optuna, getattr(current, name)) for name, choice in SEARCH_SPACE.items()}


def drawn(current: TrainingSettings) -> dict[str, Value]:
    """Return the searched settings as Optuna keeps them, without those that its distributions can't hold."""
    found = {name: choice.drawn(getattr(current, name)) for name, choice in SEARCH_SPACE.items()}
    return {name: value for name, value in found.items() if value is not None}


def with_drawn(current: TrainingSettings, values: Mapping[str, Value]) -> TrainingSettings:
    """Return `current` with what Optuna has drawn in its place.

    Raises:
        ValidationError: A value isn't allowed; the space is wrong then.
    """
    chosen = {name: SEARCH_SPACE[name].setting(value) for name, value in values.items()}
    return TrainingSettings.model_validate(current.model_dump() | chosen)
