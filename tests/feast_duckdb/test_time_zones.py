"""Time zones: every instant is the same instant, whoever wrote it and in whichever zone."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from feast import Field
from feast.types import Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from .views import START, hour, retrieve, source, view, write

ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", None]
# Both hours that New York has twice, and those around them.
BACK = datetime(2024, 11, 3, 3, tzinfo=UTC)
INSTANTS = st.integers(0, 12).map(lambda halves: BACK + timedelta(minutes=30 * halves))
FIELDS = [Field(name="customer_id", dtype=String), Field(name="score", dtype=Int64)]


def spelled(instant: datetime, zone: str | None) -> datetime:
    """Write an instant in a zone; without one, as UTC, which is how Feast reads zoneless times."""
    return instant.replace(tzinfo=None) if zone is None else instant.astimezone(ZoneInfo(zone))


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ"])
@settings(max_examples=15, deadline=None)
@given(
    events=st.lists(INSTANTS, min_size=1, max_size=8),
    spine=st.lists(st.tuples(INSTANTS, st.sampled_from(ZONES)), min_size=1, max_size=8),
    ttl=st.sampled_from([0, 45, 60]),
)
def test_instants_equal_brute_force(kind: str, events: list[datetime], spine: list[Any], ttl: int) -> None:
    times = pa.array(events, pa.timestamp("us", "UTC"))
    stored = times if kind == "TIMESTAMPTZ" else times.cast(pa.timestamp("us"))
    rows = pa.table({"customer_id": ["a"] * len(events), "event_timestamp": stored, "score": range(len(events))})
    repo = Path(tempfile.mkdtemp())
    try:
        write(repo / "purchases/0.parquet", rows)
        made = view(source(created_timestamp_column=""), schema=FIELDS, ttl=timedelta(minutes=ttl))
        entity_times = pd.Series([spelled(at, zone) for at, zone in spine], dtype=object)
        frame = pd.DataFrame({"customer_id": "a", "event_timestamp": entity_times})
        got = retrieve(repo, [made], ["purchases:score"], frame).to_arrow()
    finally:
        shutil.rmtree(repo)
    expected = []
    for at, _ in spine:
        alive = [(event, place) for place, event in enumerate(events) if event <= at]
        alive = [row for row in alive if not ttl or row[0] >= at - timedelta(minutes=ttl)]
        expected.append(max(alive)[1] if alive else None)
    assert got.column("score").to_pylist() == expected
    assert got.column("event_timestamp").to_pylist() == [at for at, _ in spine]


def test_the_sessions_own_zone_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    rows = pa.table({"customer_id": ["a"], "event_timestamp": pa.array([datetime(2024, 1, 1, 4)]), "score": [1]})
    write(tmp_path / "purchases/0.parquet", rows)
    made = view(source(created_timestamp_column=""), schema=FIELDS)
    query = (
        "SELECT 'a' AS customer_id, UNNEST([TIMESTAMP '2024-01-01 03:59:59', '2024-01-01 04:00']) AS event_timestamp"
    )
    got = retrieve(tmp_path, [made], ["purchases:score"], query).to_arrow()
    assert got.column("score").to_pylist() == [None, 1]
    assert got.column("event_timestamp").to_pylist()[1] == hour(4)


@pytest.mark.parametrize("nanoseconds", [0, 1, 999])
def test_nanoseconds_at_the_bounds(tmp_path: Path, nanoseconds: int) -> None:
    """A row counts from its microsecond on, and within the ttl until the end of its last one."""
    at = f"(epoch_ns(TIMESTAMPTZ '{START:%Y-%m-%d} 04:00:00Z') + {nanoseconds})"
    duckdb.connect().execute(
        f"COPY (SELECT 'a' AS customer_id, 1 AS score, make_timestamp_ns({at}) AS event_timestamp) "
        f"TO '{tmp_path / 'purchases.parquet'}'"
    ).close()
    made = view(source("purchases.parquet", created_timestamp_column=""), schema=FIELDS, ttl=timedelta(hours=1))
    microsecond = timedelta(microseconds=1)
    wanted = [hour(4) - microsecond, hour(4), hour(5), hour(5) + microsecond]
    spine = pa.table({"customer_id": ["a"] * 4, "event_timestamp": pa.array(wanted, pa.timestamp("us", "UTC"))})
    for rows in (spine, *(spine.slice(place, 1) for place in range(4))):  # alone, each row is the scan's bound
        got = retrieve(tmp_path, [made], ["purchases:score"], rows).to_arrow()
        known = dict(zip(wanted, [None, 1, 1, None], strict=True))
        assert got.column("score").to_pylist() == [known[time] for time in rows.column(1).to_pylist()]
    ranges = {(hour(4), hour(4)): 1, (hour(3), hour(4) - microsecond): 0, (hour(4) + microsecond, hour(5)): 0}
    for (start, end), count in ranges.items():
        job = retrieve(tmp_path, [made], ["purchases:score"], None, start_date=start, end_date=end)
        assert job.to_arrow().num_rows == count, (start, end)
