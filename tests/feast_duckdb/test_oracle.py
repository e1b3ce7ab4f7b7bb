"""Point-in-time retrieval against a brute-force loop in Python, on random histories."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .views import FIELDS, entities, history, hour, retrieve, source, view, write

HOURS = st.integers(0, 8)
CUSTOMERS = st.sampled_from(["a", "b", None])
FEATURES = st.one_of(st.none(), st.integers(-5, 5))
LISTS = st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=4))
ROWS = st.lists(
    st.tuples(CUSTOMERS, st.one_of(st.none(), HOURS), st.one_of(st.none(), HOURS), FEATURES, LISTS),
    max_size=25,
)
TTLS = st.sampled_from([None, 0, 1, 3])


def oracle(rows: list[tuple[Any, ...]], customer: Any, at: int | None, ttl: int | None, *, known: bool) -> Any:
    """Scan every row; on equal event times the later creation wins, then the later place."""
    best: tuple[Any, ...] | None = None
    for place, (row_customer, event, created, score, indices) in enumerate(rows):
        if customer is None or at is None or row_customer != customer or event is None or event > at:
            continue
        if ttl and event < at - ttl:
            continue
        if known and (created is None or created > at):
            continue
        rank = (event, -1 if created is None else created, place)
        if best is None or rank > best[0]:
            best = (rank, score, indices)
    return (None, None) if best is None else best[1:]


def split(rows: list[tuple[Any, ...]], directory: Path) -> None:
    """Write rows to two files whose names keep their order."""
    middle = len(rows) // 2
    write(directory / "part-0.parquet", history(*rows[:middle]))
    write(directory / "part-1.parquet", history(*rows[middle:]))


@pytest.mark.parametrize("kind", ["path", "query"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=ROWS,
    second=ROWS,
    spine=st.lists(st.tuples(CUSTOMERS, st.one_of(st.none(), HOURS)), max_size=12),
    ttls=st.tuples(TTLS, TTLS),
    known=st.booleans(),
    streamed=st.booleans(),
)
def test_retrieval_equals_brute_force(
    kind: str, first: Any, second: Any, spine: Any, ttls: Any, known: bool, streamed: bool
) -> None:
    repo = Path(tempfile.mkdtemp())
    try:
        views = []
        for name, rows, ttl in (("one", first, ttls[0]), ("two", second, ttls[1])):
            split(rows, repo / name)
            query = f"SELECT * FROM read_parquet('{{base_path}}/{name}/*.parquet')"
            made = source(name) if kind == "path" else source(query=query, name=name)
            views.append(view(made, name, ttl=None if ttl is None else timedelta(hours=ttl)))
        refs = ["one:score", "one:indices", "two:indices", "two:score"]
        job = retrieve(repo, views, refs, entities(*spine), full_feature_names=True, filter_by_created_timestamp=known)
        # Streams come from one query, tables from a query for each view.
        got = (job.to_arrow_reader().read_all() if streamed else job.to_arrow()).to_pylist()
    finally:
        shutil.rmtree(repo)
    expected = []
    for customer, at in spine:
        one = oracle(first, customer, at, ttls[0], known=known)
        two = oracle(second, customer, at, ttls[1], known=known)
        expected.append(
            {
                "customer_id": customer,
                "event_timestamp": None if at is None else hour(at),
                "one__score": one[0],
                "one__indices": one[1],
                "two__indices": two[1],
                "two__score": two[0],
            }
        )
    assert got == expected


@settings(max_examples=12, deadline=None)
@given(
    rows=ROWS,
    spine=st.lists(st.one_of(st.none(), HOURS), min_size=1, max_size=8),
    bounds=st.tuples(HOURS, HOURS).map(sorted),
    ttl=TTLS,
)
def test_entityless_view_and_date_range_equal_brute_force(rows: Any, spine: Any, bounds: Any, ttl: int | None) -> None:
    repo = Path(tempfile.mkdtemp())
    try:
        split(rows, repo / "rows")
        lifetime = None if ttl is None else timedelta(hours=ttl)
        totals = view(source("rows"), "totals", entities=[], schema=FIELDS[1:], ttl=lifetime)
        given_times = entities(*((None, at) for at in spine)).select(["event_timestamp"])
        alone = retrieve(repo, [totals], ["totals:score"], given_times).to_arrow().column("score").to_pylist()
        by_customer = view(source("rows"), ttl=lifetime)
        start, end = (hour(bound) for bound in bounds)
        job = retrieve(repo, [by_customer], ["purchases:score"], None, start_date=start, end_date=end)
        ranged = [tuple(row.values()) for row in job.to_arrow().to_pylist()]
    finally:
        shutil.rmtree(repo)
    everyone = [("all", *row[1:]) for row in rows]
    assert alone == [oracle(everyone, "all", at, ttl, known=False)[0] for at in spine]
    within = {(row[1], row[0]) for row in rows if None not in row[:2] and bounds[0] <= row[1] <= bounds[1]}
    # A date range bounds the feature rows, too: nothing older than its start is joined.
    later = [row for row in rows if row[1] is not None and row[1] >= bounds[0]]
    expected = [(hour(at), customer, oracle(later, customer, at, ttl, known=False)[0]) for at, customer in within]
    assert sorted(ranged, key=str) == sorted(expected, key=str)
