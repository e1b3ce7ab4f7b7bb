"""How a snapshot is split into parts, which are scored, written and resumed one by one.

The split follows from the number of customers and from what a row weighs, so that every engine, on any machine, makes
the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PARTS: Final = 32
"""Aimed at, within the bounds below: enough for the cores of one machine."""
FEWEST_ROWS: Final = 8_192
MOST_ROWS: Final = 65_536
"""Bounds on a part's rows: a kill costs each core the part it was at, a file is neither tiny nor unwieldy."""
ROUNDED_TO: Final = 16_384
"""Rows of larger parts are a multiple: a row group of a snapshot, which two parts would both have to read."""

MOST_HELD_BYTES: Final = 201_326_592
"""Of a part that is in memory until it is whole: each lane has one. A row group of a snapshot at 3,000 categories."""
FEWEST_HELD_ROWS: Final = 1_024
"""However much they weigh."""


@dataclass(frozen=True)
class Part:
    """A range of the snapshot's rows.

    Attributes:
        number: From 0.
        rows: Their numbers in the snapshot's files.
    """

    number: int
    rows: range

    @property
    def name(self) -> str:
        """Name of its file: name order is row order."""
        return f"part-{self.number:05d}.parquet"


def most_held_rows(row_bytes: int) -> int:
    """Return the most rows of a part that is held until it is whole: a power of two.

    So such a part is some of a snapshot's row groups or an even share of one.
    """
    return max(FEWEST_HELD_ROWS, 1 << (max(1, MOST_HELD_BYTES // row_bytes).bit_length() - 1))


def parts_of(n_rows: int, held_row_bytes: int = 0) -> tuple[Part, ...]:
    """Split customers into parts in their order; none at all make one empty part.

    Args:
        n_rows: How many customers.
        held_row_bytes: What a row takes of memory until its part is whole; 0 where parts are written bit by bit.
    """
    each = min(MOST_ROWS, -(-n_rows // PARTS))
    each = FEWEST_ROWS if each <= FEWEST_ROWS else -(-each // ROUNDED_TO) * ROUNDED_TO
    if held_row_bytes:
        each = min(each, most_held_rows(held_row_bytes))
    starts = range(0, max(1, n_rows), each)
    return tuple(Part(number, range(start, min(start + each, n_rows))) for number, start in enumerate(starts))
