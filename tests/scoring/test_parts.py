from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity import columns
from propensity.features.snapshot_reader import _batches
from propensity.scoring.parts import FEWEST_ROWS, MOST_ROWS, parts_of


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


def test_small_and_huge_snapshots():
    assert [len(part.rows) for part in parts_of(0)] == [0]
    assert [len(part.rows) for part in parts_of(80)] == [80]
    assert len(parts_of(1_000_000)) == 31
    assert len(parts_of(300_000_000)) == 4578


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


@given(st.data())
def test_a_range_is_read_in_full_batches_whatever_the_row_groups(sparse, tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "range.parquet"
    with pq.ParquetWriter(file, sparse.schema) as writer:
        left = sparse
        while left.num_rows:
            rows = data.draw(st.integers(1, 400))
            writer.write_table(left.slice(0, rows), row_group_size=rows)
            left = left.slice(rows)
    start = data.draw(st.integers(0, 1000))
    stop = data.draw(st.integers(start, 1000))
    batch_rows = data.draw(st.integers(1, 300))
    with pq.ParquetFile(file) as parquet:
        batches = list(_batches(parquet, range(start, stop), batch_rows))
    assert [batch.num_rows for batch in batches] == [
        min(batch_rows, stop - first) for first in range(start, stop, batch_rows)
    ]
    found = pa.Table.from_batches(batches, sparse.schema).to_pylist()
    assert found == sparse.slice(start, stop - start).to_pylist()
