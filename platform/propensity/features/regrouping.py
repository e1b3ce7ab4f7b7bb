"""Rows that come in batches of any size, in groups of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa


class Regrouping:
    """Cuts a sequence of rows anew. Memory is that of one group, beside the batch at hand."""

    def __init__(self, group_rows: int) -> None:
        """Begin, for groups of so many rows."""
        self._group_rows = group_rows
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take rows; yield the groups that are whole with them, each column in one piece."""
        start = 0
        while batch.num_rows - start >= (missing := self._group_rows - self._held_rows):
            piece = batch.slice(start, missing)
            yield pa.concat_batches([*self._held, piece]) if self._held else piece
            self._held, self._held_rows = [], 0
            start += missing
        if rest := batch.num_rows - start:
            # A copy: a slice would hold on to all of the batch.
            self._held.append(pa.concat_batches([batch.slice(start)]) if start else batch)
            self._held_rows += rest

    def rest(self) -> pa.RecordBatch | None:
        """Return the rows of the last group, which isn't whole; None where there are none."""
        held, self._held, self._held_rows = self._held, [], 0
        return pa.concat_batches(held) if held else None


def regrouped(batches: Iterable[pa.RecordBatch], group_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows in groups of `group_rows`, the last one fewer."""
    groups = Regrouping(group_rows)
    for batch in batches:
        yield from groups.add(batch)
    if (rest := groups.rest()) is not None:
        yield rest
