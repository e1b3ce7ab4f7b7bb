"""What a Spark task writes, without Spark: the same files however its rows come."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from propensity import columns
from propensity.features.snapshot_rows import Origin
from propensity.features.spark_parts import SPINE, SnapshotParts, move_parts, whole_customers, written_files
from propensity.features.spark_relations import range_of
from propensity.warehouse.schemas import FEATURE_SCHEMA

ROWS = pa.schema(
    [
        ("part", pa.int32()),
        ("snapshot", pa.int32()),
        (columns.CUSTOMER_ID, pa.string()),
        ("family", pa.int32()),
        ("entries", pa.list_(pa.struct([("index", pa.int32()), ("value", pa.float32())]))),
    ]
)
ORIGINS = tuple(
    Origin(datetime(2024, 1, day, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC), "us", f"run{day}") for day in (1, 2, 3)
)


@st.composite
def parts(draw: st.DrawFn) -> tuple[list[dict], list[int]]:
    """Rows as Spark sends them, of customers known and not, and where they are cut into batches."""
    customers = draw(st.lists(st.tuples(st.sampled_from([0, 2]), st.sampled_from("abcdef")), unique=True))
    entries = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1.0, 2.5, -1.0])), max_size=3)
    rows = []
    for snapshot, customer in sorted(customers):
        families = draw(st.lists(st.integers(0, 3), max_size=5)) + [SPINE] * draw(st.integers(0, 1))
        rows += [
            {
                "part": 4,
                "snapshot": snapshot,
                columns.CUSTOMER_ID: customer,
                "family": family,
                "entries": [{"index": i, "value": v} for i, v in ([] if family == SPINE else draw(entries))],
            }
            for family in draw(st.permutations(families))
        ]
    return rows, sorted(draw(st.lists(st.integers(0, len(rows)), max_size=4)))


def batches_of(rows: list[dict], cuts: list[int]) -> list[pa.RecordBatch]:
    bounds = [0, *cuts, len(rows)]
    return [pa.RecordBatch.from_pylist(rows[start:stop], ROWS) for start, stop in pairwise(bounds)]


@given(parts(), st.integers(1, 4))
def test_customers_stay_whole(part, customers):
    rows, cuts = part
    tables = list(whole_customers(iter(batches_of(rows, cuts)), customers))
    assert [row for table in tables for row in table.to_pylist()] == rows
    named = [{(row["snapshot"], row[columns.CUSTOMER_ID]) for row in table.to_pylist()} for table in tables]
    assert all(len(each) == customers for each in named[:-1])
    assert all(1 <= len(each) <= customers for each in named)
    assert sum(map(len, named)) == len(set().union(*named)) if named else not rows


@settings(max_examples=25)
@given(parts())
def test_a_part_is_every_known_customers_entries_added_up(part):
    rows, cuts = part
    known = [(row["snapshot"], row[columns.CUSTOMER_ID]) for row in rows if row["family"] == SPINE]
    with TemporaryDirectory() as directory:
        write = SnapshotParts(Path(directory), ORIGINS)
        told = [row for batch in write(iter(batches_of(rows, cuts))) for row in batch.to_pylist()]
        again = [row for batch in write(iter(batches_of(rows, []))) for row in batch.to_pylist()]
        assert not {row["file"] for row in told} & {row["file"] for row in again}  # each attempt has its own
        written = written_files([tuple(row.values()) for row in told])
        assert {snapshot for _, snapshot in written} == {snapshot for snapshot, _ in known}
        for number, family in enumerate(columns.FAMILIES):
            for snapshot in range(len(ORIGINS)):
                found = written.get((columns.feature_view(family), snapshot), [])
                run = Path(directory) / f"{family}-{snapshot}"
                run.mkdir()
                move_parts(Path(directory), found, run, FEATURE_SCHEMA)
                (file,) = run.iterdir()
                table = pq.read_table(file)
                assert table.schema.equals(FEATURE_SCHEMA)
                assert table.num_rows == sum(each.rows for each in found)
                assert table.column(columns.CUSTOMER_ID).to_pylist() == [c for s, c in known if s == snapshot]
                for row in table.to_pylist():
                    sums: dict[int, float] = {}
                    for other in rows:
                        place = other["snapshot"], other[columns.CUSTOMER_ID], other["family"]
                        if place == (snapshot, row[columns.CUSTOMER_ID], number):
                            for entry in other["entries"]:
                                sums[entry["index"]] = sums.get(entry["index"], 0) + entry["value"]
                    assert dict(zip(row[columns.INDICES], row[columns.VALUES], strict=True)) == sums
                    assert row[columns.INDICES] == sorted(sums)
                    assert (row["run_id"], row["event_timestamp"]) == (
                        ORIGINS[snapshot].run_id,
                        ORIGINS[snapshot].as_of,
                    )


names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=3)


@given(st.sets(names, max_size=9), names)
def test_a_customers_part_is_how_many_bounds_lie_below(bounds, customer):
    (sql,) = sqlglot.transpile(range_of(sorted(bounds)), read="spark", write="duckdb")
    found = duckdb.execute(f"SELECT {sql} FROM (SELECT ? AS customer_id)", [customer]).fetchone()
    assert found == (sum(bound <= customer for bound in bounds),)
