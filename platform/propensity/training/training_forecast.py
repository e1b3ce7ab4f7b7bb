"""What a training will take, as a value: in one line for people, and an error where memory won't do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from propensity.errors import TooLargeError

if TYPE_CHECKING:
    from propensity.settings import TrainingSettings


@dataclass(frozen=True)
class TrainingForecast:
    """What a training will take.

    Attributes:
        rows: Of the refit, from which the kept net learns.
        cutoffs: As_ofs of those rows.
        values_per_row: Non-zeros of a row, before the encoder.
        features: Of the dictionary.
        columns: Of the deep part's input.
        categories: That the model will have.
        n_classes: K.
        settings: By which it will be trained.
        memory: Most bytes that the process holds in each phase.
        available: Bytes that it can have.
        lower: Settings that lower the peak and the bytes that each alone saves, the most first.
        epochs: Seconds of one epoch of one net, in the first stage and in the refit; zeros without a probe.
        fixed: Seconds of each stage without its epochs; empty without a probe.
        validation: Seconds of a validation loss, after each epoch of the first net.
    """

    rows: int
    cutoffs: int
    values_per_row: float
    features: int
    columns: int
    categories: int
    n_classes: int
    settings: TrainingSettings
    memory: dict[str, int]
    available: int
    lower: tuple[tuple[str, int], ...]
    epochs: tuple[float, float] = (0.0, 0.0)
    fixed: dict[str, float] = field(default_factory=dict)
    validation: float = 0.0

    @property
    def peak(self) -> int:
        """Most bytes that the process holds."""
        return max(self.memory.values())

    @property
    def fits(self) -> bool:
        """Whether there is as much memory."""
        return self.peak <= self.available

    def stages(self, first: int | None = None, kept: int | None = None) -> dict[str, float]:
        """Return the seconds of each stage; empty without a probe.

        Args:
            first: Epochs of the first net, by default the most that the settings allow.
            kept: Epochs that validation chose for all others, by default as many as `first`.
        """
        if not self.fixed:
            return {}
        first = first or self.settings.epochs
        kept, nets = kept or first, self.settings.nets
        fit, refit = self.epochs
        seconds = dict(self.fixed)
        seconds["nets"] += first * (fit + self.validation) + (nets - 1) * kept * fit
        seconds["refit"] += nets * kept * refit
        return seconds

    @property
    def seconds(self) -> float:
        """Most seconds of the training."""
        return sum(self.stages().values())

    @property
    def tiny(self) -> bool:
        """Whether it is too short to be probed, and fits."""
        return self.fits and not self.fixed

    @property
    def lines(self) -> list[str]:
        """What `propensity train --forecast` prints, a figure per line."""
        verdict = "fits" if self.fits else "does not fit"
        shown = [
            ("rows", f"{self.rows:,} of {self.cutoffs} cut-offs, {self.values_per_row:,.0f} non-zeros each"),
            ("columns", f"{self.columns:,} of {self.features:,} features"),
            ("categories", f"{self.categories:,}, {self.n_classes} classes"),
            ("memory", f"{_memory(self.peak)} of {_memory(self.available)} available: {verdict}"),
            *((f"  {phase}", _memory(held)) for phase, held in self.memory.items()),
        ]
        if not self.fits:
            shown += [(f"  {setting}", f"saves {_memory(saved)}") for setting, saved in self.lower]
        if self.fixed:
            epochs, nets = self.settings.epochs, self.settings.nets
            shown += [
                (
                    "time",
                    f"{_duration(self.seconds)} at most: {epochs} epochs of {_nets(nets)}, and again in the refit",
                ),
                *((f"  {stage}", _duration(seconds)) for stage, seconds in self.stages().items()),
                ("  an epoch", f"{_duration(self.epochs[0])}, in the refit {_duration(self.epochs[1])}"),
            ]
        return [f"{name:<13} {what}" for name, what in shown]

    @property
    def sentence(self) -> str:
        """Everything in one line, for people."""
        said = (
            f"{self.rows:,} rows of {self.cutoffs} cut-offs, {self.values_per_row:,.0f} non-zeros each; "
            f"{self.columns:,} columns of {self.features:,} features; {self.categories:,} categories, "
            f"{self.n_classes} classes; memory {_memory(self.peak)} of {_memory(self.available)} available"
        )
        if not self.fixed:
            return said
        stages = ", ".join(f"{name} {_duration(seconds)}" for name, seconds in self.stages().items())
        return f"{said}; time {_duration(self.seconds)} at most ({stages}; {_duration(self.epochs[1])} an epoch)"

    def check(self) -> None:
        """Make sure that it fits.

        Raises:
            TooLargeError: It needs more memory than there is; says which settings would lower that, and by how much.
        """
        if self.fits:
            return
        phase = max(self.memory, key=lambda name: self.memory[name])
        needed = self.peak - self.available
        lower = [
            f"{setting} saves {_memory(saved)}{', enough' if saved >= needed else ''}"
            for setting, saved in self.lower[:4]
        ]
        advice = f" Lower: {'; '.join(lower)}." if lower else " Train on fewer cut-offs, or on a larger machine."
        raise TooLargeError(
            f"Training on {self.rows:,} rows, {self.columns:,} columns and {self.categories:,} categories needs about "
            f"{_memory(self.peak)} of memory ({phase}); {_memory(self.available)} is available.{advice} "
            "To try it nevertheless: --beyond-memory, or PROPENSITY_REFUSE_BEYOND_MEMORY=false"
        )


def _nets(number: int) -> str:
    return "one net" if number == 1 else f"{number} nets"


def _memory(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"
