"""Rows in groups of one size, however they come."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity.features.regrouping import Regrouping, regrouped
from propensity.features.snapshot_rows import HELD_ROWS, ROW_GROUP_ROWS, FeatureFile, row_group_rows
from propensity.warehouse.schemas import FEATURE_SCHEMA

N_ROWS = 100
AS_OF = datetime(2024, 8, 1, 4, tzinfo=UTC)


def table(n_rows: int) -> pa.Table:
    """Return rows of a feature table, row i with i % 4 features."""
    return pa.Table.from_pylist(
        [
            {
                "customer_id": f"c{row:03d}",
                "event_timestamp": AS_OF,
                "created_timestamp": AS_OF,
                "region": "us",
                "run_id": "features-0",
                "indices": list(range(row % 4)),
                "values": [float(row)] * (row % 4),
            }
            for row in range(n_rows)
        ],
        schema=FEATURE_SCHEMA,
    )


def cut(rows: pa.Table, seed: int) -> list[pa.RecordBatch]:
    """Return the rows in batches of any size, none too."""
    bounds = np.random.default_rng(seed).integers(0, len(rows) + 1, 8)
    whole = rows.combine_chunks().to_batches()[0]
    return [whole.slice(low, high - low) for low, high in pairwise([0, *sorted(bounds.tolist()), len(rows)])]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("group_rows", [1, 7, 25, N_ROWS, N_ROWS + 1])
def test_all_groups_but_the_last_have_one_size(group_rows, seed):
    rows = table(N_ROWS)
    groups = list(regrouped(cut(rows, seed), group_rows))
    assert [group.num_rows for group in groups[:-1]] == [group_rows] * (
        N_ROWS // group_rows - (not N_ROWS % group_rows)
    )
    assert 0 < groups[-1].num_rows <= group_rows
    assert pa.Table.from_batches(groups).equals(rows)


def test_what_is_held_keeps_no_batch_alive():
    rows = table(N_ROWS).combine_chunks().to_batches()[0]
    groups = Regrouping(N_ROWS - 1)
    assert [group.num_rows for group in groups.add(rows)] == [N_ROWS - 1]
    rest = groups.rest()
    assert rest.num_rows == 1
    assert sum(buffer.size for column in rest.columns for buffer in column.buffers() if buffer) < rows.nbytes / 10
    assert groups.rest() is None


@pytest.mark.parametrize("seed", range(4))
def test_a_feature_file_is_the_same_however_rows_come(tmp_path, seed):
    rows = table(N_ROWS)
    for name, batches in (("cut", cut(rows, seed)), ("whole", rows.combine_chunks().to_batches())):
        with closing(FeatureFile(tmp_path / name, 16)) as file:
            for batch in batches:
                file.write(batch)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    found = pq.ParquetFile(tmp_path / "cut")
    sizes = [found.metadata.row_group(number).num_rows for number in range(found.num_row_groups)]
    assert sizes == [16] * 6 + [4]
    assert found.read().equals(rows)


def test_snapshots_that_are_written_at_once_hold_a_bounded_number_of_rows():
    assert [row_group_rows(n) for n in (1, 8, 9, 52)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 8_192, 2_048]
    assert all(n * row_group_rows(n) <= HELD_ROWS for n in range(1, 100))
