"""What a model's report shows beside its figures: curves, differences from each baseline, slices of customers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from propensity.evaluation.bootstrap import Interval
from propensity.evaluation.diagnostics import Diagnostics
from propensity.evaluation.measuring import diagnose, differences_on
from propensity.evaluation.slices import Group, Slice, slices_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from propensity.evaluation.protocol import HoldoutWindow


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of one model on one window; figures that aren't defined are equal to each other.

    Attributes:
        diagnostics: The model's.
        differences: Baseline -> figure -> the model's figure less the baseline's with its paired 95 % bootstrap
            interval over customers; see `measuring.differences_on`.
        slices: The model's figures on groups of customers; empty where no attribute is known.
        bounds: Model or baseline -> segment -> figure -> bound on its error, of figures that come from bins; empty
            where all are exact. NaN where a figure isn't defined.
    """

    diagnostics: Diagnostics
    differences: dict[str, dict[str, Interval]]
    slices: tuple[Slice, ...]
    bounds: dict[str, dict[str, dict[str, float]]]

    def __eq__(self, other: object) -> bool:
        """Return whether all figures are the same."""
        return isinstance(other, Evidence) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts and lists, ready for JSON: what isn't defined is None."""
        return {
            "diagnostics": self.diagnostics.to_dict(),
            "differences": {
                baseline: {figure: _nulls(interval.to_dict()) for figure, interval in figures.items()}
                for baseline, figures in self.differences.items()
            },
            "slices": [each.to_dict() for each in self.slices],
            "bounds": {
                name: {segment: _nulls(figures) for segment, figures in of.items()} for name, of in self.bounds.items()
            },
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Evidence:
        """Read what `to_dict` returned."""
        return cls(
            diagnostics=Diagnostics.from_dict(fields["diagnostics"]),
            differences={
                baseline: {figure: Interval(**_nans(interval)) for figure, interval in figures.items()}
                for baseline, figures in fields["differences"].items()
            },
            slices=tuple(Slice.from_dict(each) for each in fields["slices"]),
            bounds={
                name: {segment: _nans(figures) for segment, figures in of.items()}
                for name, of in fields["bounds"].items()
            },
        )


def evidence_of(
    window: HoldoutWindow,
    probabilities: npt.NDArray[np.float32],
    baselines: Mapping[str, npt.NDArray[np.float32]],
    groups: Sequence[Group],
    bounds: Mapping[str, dict[str, dict[str, float]]] | None = None,
) -> Evidence:
    """Gather the evidence; on 2,452 x 301 pairs one second, and one more for each baseline.

    Args:
        window: The pairs.
        probabilities: The model's, (n_customers, n_categories).
        baselines: Theirs by name, same shape.
        groups: Of the window's customers, see `slices.attribute_groups`.
        bounds: See Evidence; None where all figures are exact.
    """
    return Evidence(
        diagnostics=diagnose(window, probabilities),
        differences=differences_on(window, probabilities, baselines),
        slices=slices_of(window.labels, probabilities, groups),
        bounds={name: of for name, of in (bounds or {}).items() if of},
    )


def _nulls(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _nans(figures: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in figures.items()}
