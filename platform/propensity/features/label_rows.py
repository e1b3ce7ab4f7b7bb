"""Rows of the labels as both engines write them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from propensity import columns
from propensity.warehouse.schemas import INSTANT, LABEL_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class LabelRun:
    """What all rows of a label window have in common."""

    as_of: datetime
    window_end: datetime
    created: datetime
    region: str
    run_id: str

    def rows(self, found: pa.Table) -> pa.Table:
        """Return customers' lists as rows of the labels.

        Args:
            found: customer_id, label_categories and label_classes, among other columns.
        """
        n_rows = found.num_rows
        arrays = [
            found.column(columns.CUSTOMER_ID),
            pa.repeat(pa.scalar(self.window_end, INSTANT), n_rows),
            pa.repeat(pa.scalar(self.created, INSTANT), n_rows),
            pa.repeat(self.region, n_rows),
            pa.repeat(self.run_id, n_rows),
            pa.repeat(pa.scalar(self.as_of, INSTANT), n_rows),
            found.column(columns.LABEL_CATEGORIES),
            found.column(columns.LABEL_CLASSES),
        ]
        return pa.table(
            [array.cast(kind) for array, kind in zip(arrays, LABEL_SCHEMA.types, strict=True)], LABEL_SCHEMA
        )


def label_tables(
    as_ofs_us: Sequence[int], ends_us: Sequence[int], event_types: Sequence[str], categories: Sequence[str]
) -> dict[str, pa.Table]:
    """Return the relations that labels.sql reads beside `staged`, by name.

    Args:
        as_ofs_us: Start of each window in microseconds since 1970.
        ends_us: Its end.
        event_types: In rising order of commitment: the i-th is class i + 1.
        categories: Names by category_index.
    """
    return {
        "snapshots": pa.table(
            {"snapshot": pa.array(range(len(as_ofs_us)), pa.int32()), "as_of_us": as_ofs_us, "end_us": ends_us}
        ),
        "classes": pa.table(
            {
                "event_type": pa.array(event_types, pa.string()),
                "class": pa.array(range(1, len(event_types) + 1), pa.int32()),
            }
        ),
        "categories": pa.table(
            {
                "category": pa.array(categories, pa.string()),
                "category_index": pa.array(range(len(categories)), pa.int32()),
            }
        ),
    }
