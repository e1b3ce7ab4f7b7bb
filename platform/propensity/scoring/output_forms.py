"""What a run keeps of its scores, by the setting `scoring.output`.

Every form has `top_categories` and `top_propensities` in full precision, so online serving knows no difference. Columns
that a form does without are null in its files; those that only one form has are in its files alone.

A form takes scores block after block, while they are in a cache: one that doesn't keep them all never has them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa

from propensity.arrow_numpy import arrow_array
from propensity.columns import (
    ABOVE_CATEGORIES,
    ABOVE_PROPENSITIES,
    CLASS_PROPENSITIES,
    COMPACT_CLASS_PROPENSITIES,
    COMPACT_PROPENSITIES,
    PROPENSITIES,
)
from propensity.compiled import compiled
from propensity.errors import SettingsError
from propensity.features.vectors import lists_from_matrix
from propensity.scoring.streamed_rows import StreamedRows
from propensity.scoring.whole_rows import WholeRows
from propensity.warehouse.schemas import ABOVE_FIELDS, COMPACT_CLASS_FIELD, COMPACT_FIELD, COMPACT_STEPS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from propensity.scoring.job import ScoringJob
    from propensity.scoring.rows_file import RowsFile
    from propensity.settings import Settings

    Columns = dict[str, pa.Array]
    NewArray = Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]]
    """As `np.empty`."""
    Floats = npt.NDArray[np.float32]
    Index = npt.NDArray[np.int32]
    Shape = tuple[int, int, int]


class Kept(Protocol):
    """What is kept of some rows' scores.

    Attributes:
        full: Where all scores are to be written, float32, (n_rows, K - 1, N); None unless they are kept.
    """

    full: Floats | None

    def take(self, start: int, scores: Floats) -> None:
        """Keep what is to be kept of a block.

        Args:
            start: Number of its first row.
            scores: Of class k or a higher one, float32, (n, K - 1, N); other blocks may come at the same time.
        """

    def columns(self) -> Columns:
        """Return the columns of the scores, when all blocks were taken."""


@dataclass(frozen=True)
class OutputForm:
    """A form with what it needs to know.

    Attributes:
        name: Key of FORMS.
        threshold: Least propensity kept, where the form is about one.
    """

    name: str
    threshold: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> OutputForm:
        """Return the form that is set.

        Raises:
            SettingsError: `online_full_vectors` is set too, and the form keeps no full vectors that could be served.
        """
        chosen = settings.scoring
        if settings.online_full_vectors and chosen.output != "full":
            raise SettingsError(
                f"online_full_vectors serves full vectors, which the output {chosen.output!r} doesn't keep. Set "
                "PROPENSITY_SCORING__OUTPUT=full, or PROPENSITY_ONLINE_FULL_VECTORS=0 and apply again: propensity apply"
            )
        return cls(chosen.output, chosen.threshold if chosen.output == "above_threshold" else None)

    def described(self) -> dict[str, Any]:
        """Return it as JSON, for the run's record and for names of runs."""
        return {"form": self.name} | ({} if self.threshold is None else {"threshold": self.threshold})

    def fields(self, n_classes: int) -> list[pa.Field]:
        """Return the columns that this form adds to the table's."""
        return FORMS[self.name].fields(n_classes)

    def keep(self, n_rows: int, n_classes: int, category_index: Index, new_array: NewArray = np.empty) -> Kept:
        """Return what takes the scores of some rows.

        Args:
            n_rows: How many.
            n_classes: K.
            category_index: The scorer's, in the order of the scores.
            new_array: Makes what holds all of them, where they are kept.
        """
        return FORMS[self.name].kept(self, (n_rows, n_classes - 1, len(category_index)), category_index, new_array)

    def rows_file(self, path: Path, job: ScoringJob, lanes: int) -> RowsFile:
        """Return what writes a part's rows; arguments as for `RowsFile`."""
        return FORMS[self.name].file(path, job, lanes)

    @property
    def writer(self) -> str:
        """The library that does."""
        return FORMS[self.name].file.writer

    def row_bytes(self, n_categories: int, n_classes: int) -> int:
        """Return about how many bytes of scores a row has in memory, without its top categories."""
        return FORMS[self.name].value_bytes * n_categories * (n_classes - 1)

    def held_row_bytes(self, n_categories: int, n_classes: int) -> int:
        """Return how many of them are held until a row's part is whole: all, or 0."""
        return self.row_bytes(n_categories, n_classes) if FORMS[self.name].file.holds_part else 0


@dataclass(frozen=True)
class _Form:
    """How a form is made; see OutputForm.

    Attributes:
        fields: Of its own columns, by the number of classes.
        kept: Takes the scores.
        value_bytes: Of a score that is kept, 0 where few are.
        file: Writes a part. Polars has no dictionaries for whole numbers in lists, which small forms consist of.
    """

    fields: Callable[[int], list[pa.Field]]
    kept: Callable[[OutputForm, Shape, Index, NewArray], Kept]
    value_bytes: int
    file: type[RowsFile]


class _Full:
    """Every score."""

    def __init__(self, form: OutputForm, shape: Shape, category_index: Index, new_array: NewArray) -> None:
        del form, category_index
        self.full: Floats | None = new_array(shape, np.float32)

    def take(self, start: int, scores: Floats) -> None:
        """They are in their place already."""

    def columns(self) -> Columns:
        """Return `propensities`, and with more classes than two `class_propensities`."""
        assert self.full is not None
        return _vectors(self.full, PROPENSITIES, CLASS_PROPENSITIES)


class _TopK:
    """Nothing but the top categories, which every form has."""

    def __init__(self, form: OutputForm, shape: Shape, category_index: Index, new_array: NewArray) -> None:
        del form, category_index, new_array
        self.full: Floats | None = None
        self._shape = shape

    def take(self, start: int, scores: Floats) -> None:
        """Keep none."""

    def columns(self) -> Columns:
        """Return the full vectors' columns as nulls."""
        names = (PROPENSITIES, CLASS_PROPENSITIES)[: min(self._shape[1], 2)]
        return {name: pa.nulls(self._shape[0], pa.list_(pa.float32())) for name in names}


class _Above(_TopK):
    """Those of at least the threshold."""

    def __init__(self, form: OutputForm, shape: Shape, category_index: Index, new_array: NewArray) -> None:
        super().__init__(form, shape, category_index, new_array)
        assert form.threshold is not None
        self._threshold, self._category_index = np.float32(form.threshold), category_index
        self._counts = np.zeros(shape[0], np.int32)
        self._blocks: dict[int, tuple[Index, Floats]] = {}

    def take(self, start: int, scores: Floats) -> None:
        """Keep a block's."""
        positions, values = np.empty(scores[:, 0].size + 1, np.int32), np.empty(scores[:, 0].size + 1, np.float32)
        counts = self._counts[start : start + len(scores)]
        n = _write_above(scores[:, 0], self._threshold, positions, values, counts)
        self._blocks[start] = self._category_index[positions[:n]], values[:n].copy()

    def columns(self) -> Columns:
        """Return them with their categories."""
        blocks = [self._blocks[start] for start in sorted(self._blocks)]
        nothing = np.empty(0, np.int32), np.empty(0, np.float32)
        categories, values = (np.concatenate(parts) for parts in zip(nothing, *blocks, strict=True))
        offsets = arrow_array(np.concatenate(([0], np.cumsum(self._counts))).astype(np.int32))
        return super().columns() | {
            ABOVE_CATEGORIES: pa.ListArray.from_arrays(offsets, arrow_array(categories)),
            ABOVE_PROPENSITIES: pa.ListArray.from_arrays(offsets, arrow_array(values)),
        }


class _Compact(_TopK):
    """Every score in steps."""

    def __init__(self, form: OutputForm, shape: Shape, category_index: Index, new_array: NewArray) -> None:
        super().__init__(form, shape, category_index, new_array)
        self._steps = new_array(shape, np.int16)

    def take(self, start: int, scores: Floats) -> None:
        """Keep a block's."""
        _write_steps(scores, self._steps[start : start + len(scores)])

    def columns(self) -> Columns:
        """Return the steps."""
        return super().columns() | _vectors(self._steps, COMPACT_PROPENSITIES, COMPACT_CLASS_PROPENSITIES)


def quantised(propensities: Floats) -> npt.NDArray[np.int16]:
    """Return propensities as whole steps of their square root, 0 .. COMPACT_STEPS, int16, in the same shape.

    The square root spreads small propensities, where nearly all of them are: its error is the same everywhere, 0.5 /
    COMPACT_STEPS, so a propensity p comes back within sqrt(p) / COMPACT_STEPS + 1 / (2 COMPACT_STEPS)**2: 2.5e-4 at
    most, 2.5e-5 at p = 0.01. It is the transformation that gives counts of rare events an even spread (Bartlett 1936).
    """
    steps = np.empty(propensities.shape, np.int16)
    _write_steps(propensities.reshape(1, 1, -1), steps.reshape(1, 1, -1))
    return steps


def restored(steps: npt.NDArray[np.int16]) -> Floats:
    """Return the propensities that `quantised` steps stand for, as the SQL views do."""
    return np.square(steps / COMPACT_STEPS).astype(np.float32)


@compiled
def _write_steps(scores: Floats, steps: npt.NDArray[np.int16]) -> None:
    scale = np.float32(COMPACT_STEPS)
    for row in range(scores.shape[0]):
        for k in range(scores.shape[1]):
            for n in range(scores.shape[2]):
                steps[row, k, n] = np.int16(np.rint(np.sqrt(scores[row, k, n]) * scale))


@compiled
def _write_above(scores: Floats, threshold: np.float32, positions: Index, values: Floats, counts: Index) -> int:
    """Write the scores of at least the threshold, row after row, and how many each row has; return how many in all."""
    total = 0
    for row in range(scores.shape[0]):
        before = total
        for n in range(scores.shape[1]):
            # Written in any case, and written over by the next where it doesn't count: a branch would be guessed wrong.
            positions[total], values[total] = n, scores[row, n]
            total += scores[row, n] >= threshold
        counts[row] = total - before
    return total


def _vectors(values: npt.NDArray[Any], first: str, higher: str) -> Columns:
    """Return (n_rows, K - 1, N) values as lists: those of k = 1, and, where there are more, the others together."""
    found = {first: lists_from_matrix(values[:, 0])}
    if values.shape[1] > 1:
        found[higher] = lists_from_matrix(values[:, 1:].reshape(len(values), (values.shape[1] - 1) * values.shape[2]))
    return found


def _none(n_classes: int) -> list[pa.Field]:
    del n_classes
    return []


def _above_fields(n_classes: int) -> list[pa.Field]:
    del n_classes
    return list(ABOVE_FIELDS)


def _compact_fields(n_classes: int) -> list[pa.Field]:
    return [COMPACT_FIELD] if n_classes == 2 else [COMPACT_FIELD, COMPACT_CLASS_FIELD]


FORMS: Final[dict[str, _Form]] = {
    "full": _Form(_none, _Full, 4, WholeRows),
    "top_k": _Form(_none, _TopK, 0, StreamedRows),
    "above_threshold": _Form(_above_fields, _Above, 0, StreamedRows),
    "compact": _Form(_compact_fields, _Compact, 2, StreamedRows),
}
"""By the values of the setting `scoring.output`."""

FULL: Final = OutputForm("full")
