"""What a run keeps of its scores, by the setting `scoring.output`.

Every form has `top_categories` and `top_propensities` in full precision, so online serving knows no difference. Columns
that a form does without are null in its files; those that only one form has are in its files alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from propensity.columns import (
    ABOVE_CATEGORIES,
    ABOVE_PROPENSITIES,
    CLASS_PROPENSITIES,
    COMPACT_CLASS_PROPENSITIES,
    COMPACT_PROPENSITIES,
    PROPENSITIES,
)
from propensity.errors import SettingsError
from propensity.warehouse.schemas import ABOVE_FIELDS, COMPACT_CLASS_FIELD, COMPACT_FIELD, COMPACT_STEPS

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.settings import Settings

    Columns = dict[str, pa.Array]
    Index = npt.NDArray[np.int32]


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

    def columns(self, scored: Columns, category_index: Index) -> Columns:
        """Return what `Scorer.score` gave in this form.

        Args:
            scored: Columns by name, `propensities` of equal lengths.
            category_index: The scorer's, in the order of `propensities`.

        Returns:
            Columns to put in place of those of the same name, or beside them.
        """
        return FORMS[self.name].columns(scored, category_index, self)

    def row_bytes(self, n_categories: int, n_classes: int) -> int:
        """Return about how many bytes of scores a row has in memory, without its top categories."""
        return FORMS[self.name].value_bytes * n_categories * (n_classes - 1)


@dataclass(frozen=True)
class _Form:
    """How a form is made; see OutputForm. `value_bytes` are those of a score that is kept, 0 where few are."""

    fields: Callable[[int], list[pa.Field]]
    columns: Callable[[Columns, Index, OutputForm], Columns]
    value_bytes: int


def _full(scored: Columns, category_index: Index, form: OutputForm) -> Columns:
    del scored, category_index, form
    return {}


def _top_k(scored: Columns, category_index: Index, form: OutputForm) -> Columns:
    del category_index, form
    return _without(scored)


def _above(scored: Columns, category_index: Index, form: OutputForm) -> Columns:
    assert form.threshold is not None
    scores = scored[PROPENSITIES].flatten().to_numpy(zero_copy_only=False)
    above = scores >= np.float32(form.threshold)
    kept = np.flatnonzero(above)
    counts = np.count_nonzero(above.reshape(-1, len(category_index)), axis=1)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return _without(scored) | {
        ABOVE_CATEGORIES: pa.ListArray.from_arrays(
            offsets, pa.array(category_index[kept % len(category_index)], pa.int32())
        ),
        ABOVE_PROPENSITIES: pa.ListArray.from_arrays(offsets, pa.array(scores[kept], pa.float32())),
    }


def _compact(scored: Columns, category_index: Index, form: OutputForm) -> Columns:
    del category_index, form
    found = _without(scored) | {COMPACT_PROPENSITIES: _in_steps(scored[PROPENSITIES])}
    if CLASS_PROPENSITIES in scored:
        found[COMPACT_CLASS_PROPENSITIES] = _in_steps(scored[CLASS_PROPENSITIES])
    return found


def quantised(propensities: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Return propensities as whole steps of their square root, 0 .. COMPACT_STEPS, int16.

    The square root spreads small propensities, where nearly all of them are: its error is the same everywhere, 0.5 /
    COMPACT_STEPS, so a propensity p comes back within sqrt(p) / COMPACT_STEPS + 1 / (2 COMPACT_STEPS)**2: 2.5e-4 at
    most, 2.5e-5 at p = 0.01. It is the transformation that gives counts of rare events an even spread (Bartlett 1936).
    """
    steps = np.sqrt(propensities)
    steps *= np.float32(COMPACT_STEPS)
    np.rint(steps, out=steps)
    return steps.astype(np.int16)


def restored(steps: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Return the propensities that `quantised` steps stand for, as the SQL views do."""
    return np.square(steps / COMPACT_STEPS).astype(np.float32)


def _in_steps(column: pa.ListArray) -> pa.ListArray:
    values = column.flatten().to_numpy(zero_copy_only=False)
    return pa.ListArray.from_arrays(column.offsets, pa.array(quantised(values)))


def _without(scored: Columns) -> Columns:
    """Return the full vectors' columns as nulls."""
    n = len(scored[PROPENSITIES])
    return {name: pa.nulls(n, pa.list_(pa.float32())) for name in (PROPENSITIES, CLASS_PROPENSITIES) if name in scored}


def _none(n_classes: int) -> list[pa.Field]:
    del n_classes
    return []


def _above_fields(n_classes: int) -> list[pa.Field]:
    del n_classes
    return list(ABOVE_FIELDS)


def _compact_fields(n_classes: int) -> list[pa.Field]:
    return [COMPACT_FIELD] if n_classes == 2 else [COMPACT_FIELD, COMPACT_CLASS_FIELD]


FORMS: Final[dict[str, _Form]] = {
    "full": _Form(_none, _full, 4),
    "top_k": _Form(_none, _top_k, 0),
    "above_threshold": _Form(_above_fields, _above, 0),
    "compact": _Form(_compact_fields, _compact, 2),
}
"""By the values of the setting `scoring.output`."""
