from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity import columns
from propensity.features.regrouping import regrouped
from propensity.features.snapshot_reader import READ, _pieces
from propensity.scoring.parts import (
    FEWEST_HELD_ROWS,
    FEWEST_ROWS,
    MOST_HELD_BYTES,
    MOST_ROWS,
    ROUNDED_TO,
    parts_of,
)


@given(st.integers(0, 3_000_000))
def test_parts_cover_every_customer_once_in_order(n_rows):
    parts = parts_of(n_rows)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert [part.name for part in parts] == sorted(part.name for part in parts)
    bounds = [parts[0].rows.start, *(part.rows.stop for part in parts)]
    assert bounds[0] == 0
    assert bounds[-1] == n_rows
    assert all(part.rows.start == start for part, start in zip(parts, bounds, strict=False))
    sizes = [len(part.rows) for part in parts]
    assert len(set(sizes[:-1])) <= 1
    assert max(sizes) <= MOST_ROWS
    assert sizes[-1] or n_rows == 0
    assert all(size >= FEWEST_ROWS for size in sizes[:-1])


@given(st.integers(0, 3_000_000), st.integers(1, 10_000_000))
def test_parts_that_are_held_weigh_no_more_than_they_may(n_rows, row_bytes):
    parts = parts_of(n_rows, row_bytes)
    assert [part.rows.start for part in parts[1:]] == [part.rows.stop for part in parts[:-1]]
    assert (parts[0].rows.start, parts[-1].rows.stop) == (0, n_rows)
    most = max(len(part.rows) for part in parts)
    assert most <= FEWEST_HELD_ROWS or most * row_bytes <= MOST_HELD_BYTES
    each = {len(part.rows) for part in parts[:-1]}
    assert all(size % ROUNDED_TO == 0 or ROUNDED_TO % size == 0 for size in each)
    assert each <= {len(parts_of(n_rows)[0].rows), *(1 << number for number in range(10, 17))}


def test_small_and_huge_snapshots():
    assert [len(part.rows) for part in parts_of(0)] == [0]
    assert [len(part.rows) for part in parts_of(80)] == [80]
    assert len(parts_of(1_000_000)) == 31
    assert len(parts_of(300_000_000)) == 4578


def test_parts_of_full_vectors():
    assert [len(parts_of(3_000_000, 4 * n)[0].rows) for n in (12, 301, 1_024, 2_000, 3_000, 10_000, 100_000)] == [
        65_536, 65_536, 32_768, 16_384, 16_384, 4_096, 1_024,
    ]  # fmt: skip
    assert len(parts_of(80, 8_000)) == 1
    assert [len(part.rows) for part in parts_of(20_000, 8_000)] == [8_192, 8_192, 3_616]


@pytest.fixture(scope="module")
def sparse():
    """A table as snapshots have, 1,000 rows, some of them empty."""
    rng = np.random.default_rng(3)
    offsets = np.concatenate(([0], np.cumsum(rng.integers(0, 4, 1000)))).astype(np.int32)
    values = rng.integers(0, 50, offsets[-1]).astype(np.int32)
    return pa.table(
        {
            columns.CUSTOMER_ID: [f"c{number:04d}" for number in range(1000)],
            columns.EVENT_TIMESTAMP: pa.array([0] * 1000, pa.timestamp("us", "UTC")),
            columns.INDICES: pa.ListArray.from_arrays(offsets, pa.array(values)),
            columns.VALUES: pa.ListArray.from_arrays(offsets, pa.array(values, pa.float32())),
        }
    )


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=9),
    st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    st.integers(1, 300),
)
def test_a_range_is_read_in_full_batches_however_files_and_row_groups_cut_it(sparse, cuts, ends, batch_rows):
    start, stop = sorted(ends)
    with TemporaryDirectory() as directory:
        files = [[]]  # of (first row, row behind); an empty one is a file without row groups
        begin = 0
        for end, ends_file in [*sorted(cuts), (1000, False)]:
            if end > begin:
                files[-1].append((begin, end))
            begin = end
            if ends_file:
                files.append([])
        paths = [Path(directory) / f"part-{number:05d}.parquet" for number in range(len(files))]
        for path, groups in zip(paths, files, strict=True):
            with pq.ParquetWriter(path, sparse.schema) as writer:
                for begin, end in groups:
                    writer.write_table(sparse.slice(begin, end - begin), row_group_size=1000)
        batches = list(regrouped(_pieces(paths, range(start, stop), batch_rows, READ), batch_rows))
        assert sum(batch.num_rows for batch in _pieces(paths, None, batch_rows, None)) == 1000
    assert [batch.num_rows for batch in batches] == [
        min(batch_rows, stop - first) for first in range(start, stop, batch_rows)
    ]
    assert pa.Table.from_batches(batches, sparse.schema).equals(sparse.slice(start, stop - start))
