"""Small made-up regions: a list of events goes through the real importer, and what is built comes back readable."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from propensity import columns
from propensity.features.dictionary_store import load_dictionary
from propensity.features.feature_store import apply_repository
from propensity.features.snapshot import Snapshot
from propensity.settings import Settings
from propensity.warehouse.categories import load_categories
from propensity.warehouse.customer_attributes import import_attributes
from propensity.warehouse.importing import EVENT_COLUMNS, import_events
from propensity.warehouse.lake import Lake
from propensity.warehouse.migration import migrate

ZONE = ZoneInfo("America/New_York")
INSTANT = pa.timestamp("us", "UTC")
MICROSECOND = timedelta(microseconds=1)

Feature = tuple[str, str, str]
"""customer_id, signal, key"""


@dataclass(frozen=True)
class Event:
    customer_id: str
    event_timestamp: datetime
    event_type: str = "purchase"
    category: str | None = None
    basket_id: str | None = None
    product_type: str | None = None
    department: str | None = None
    brand: str | None = None
    quantity: float = 1
    value: float = 1
    discount: float = 0
    promoted: bool = False
    campaign_type: str | None = None
    created_timestamp: datetime | None = None
    item_id: str | None = None
    event_id: str | None = None

    @property
    def basket(self) -> object:
        """What tells baskets apart: without an id, the instant does."""
        return self.basket_id or self.event_timestamp


@dataclass(frozen=True)
class Attribute:
    customer_id: str
    attribute: str
    value: str
    created_timestamp: datetime | None = None


def midnight(year: int, month: int, day: int) -> datetime:
    """Local midnight in New York."""
    return datetime(year, month, day, tzinfo=ZONE).astimezone(UTC)


def new_home(directory: Path, *, applied: bool = False, **options: object) -> Settings:
    """Settings of a fresh home: migrated, and known to Feast where `applied`; copied, since both take seconds."""
    settings = Settings(home=directory, threads=1, lock_timeout_seconds=1, **options)
    template = _applied() if applied else _migrated()
    shutil.copytree(template, directory, dirs_exist_ok=True)
    return settings


def _directory_until_the_end() -> Path:
    directory = Path(mkdtemp(prefix="propensity-world-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@cache
def _migrated() -> Path:
    home = _directory_until_the_end()
    migrate(Settings(home=home))
    return home


@cache
def _applied() -> Path:
    home = _directory_until_the_end()
    shutil.copytree(_migrated(), home, dirs_exist_ok=True)
    apply_repository(Settings(home=home))
    return home


def import_list(settings: Settings, events: Sequence[Event], name: str = "events") -> str:
    """Import the events as one file; return the run's id."""
    rows = [asdict(event) for event in events]
    kinds = {
        "event_timestamp": INSTANT,
        "created_timestamp": INSTANT,
        "quantity": pa.float64(),
        "value": pa.float64(),
        "discount": pa.float64(),
        "promoted": pa.bool_(),
    }
    table = pa.table({n: pa.array([row[n] for row in rows], kinds.get(n, pa.string())) for n in EVENT_COLUMNS})
    connection = duckdb.connect(config={"threads": 1})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", table)
        connection.execute(
            "CREATE VIEW items AS SELECT NULL::VARCHAR AS item_id, NULL::VARCHAR AS category, "
            "NULL::VARCHAR AS product_type, NULL::VARCHAR AS department, NULL::VARCHAR AS brand, "
            "false AS excluded WHERE false"
        )
        connection.execute(
            f"CREATE VIEW source AS SELECT '{name}' AS source_name, row_number() OVER () AS source_line, "
            "to_json(events)::VARCHAR AS raw, false AS unreadable, * FROM events"
        )
        result = import_events(settings, connection, source_name=name, naive_timezone="UTC")
    finally:
        connection.close()
    assert result.quarantined == {}
    return result.run.run_id


def import_attribute_list(settings: Settings, attributes: Sequence[Attribute], name: str = "attributes") -> None:
    """Import the attributes as one run."""
    rows = [asdict(attribute) for attribute in attributes]
    kinds = {"created_timestamp": INSTANT}
    fields = ("customer_id", "attribute", "value", "created_timestamp")
    connection = duckdb.connect(config={"threads": 1})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("attributes", pa.table({n: pa.array([r[n] for r in rows], kinds.get(n)) for n in fields}))
        import_attributes(settings, connection, source_name=name)
    finally:
        connection.close()


@dataclass(frozen=True)
class Contents:
    """What a snapshot says, by name.

    Attributes:
        spine: Customers, each as often as it has a row.
        features: Value by (customer_id, signal, key).
        popularity: (customers, share) by category, of those with any.
    """

    spine: tuple[str, ...]
    features: dict[Feature, float]
    popularity: dict[str, tuple[int, float]]


def read_contents(settings: Settings, snapshot: Snapshot) -> Contents:
    """Decode the snapshot through the dictionary; every family must have the same rows in the same order."""
    dictionary = load_dictionary(settings)
    lake = Lake(settings.lake)
    features: dict[Feature, float] = {}
    spines = set()
    for family in columns.FAMILIES:
        directory = lake.run_directory(columns.feature_view(family), settings.region, snapshot.run_id, snapshot.as_of)
        table = pq.read_table(directory, partitioning=None)
        assert set(table.column(columns.EVENT_TIMESTAMP).to_pylist()) <= {snapshot.as_of}
        customers = table.column(columns.CUSTOMER_ID).to_pylist()
        spines.add(tuple(customers))
        lists = zip(
            customers, table.column(columns.INDICES).to_pylist(), table.column(columns.VALUES).to_pylist(), strict=True
        )
        for customer, indices, values in lists:
            assert indices == sorted(set(indices))
            for index, value in zip(indices, values, strict=True):
                assert dictionary.family[index] == family
                features[customer, dictionary.signal[index], dictionary.key[index]] = value
    (spine,) = spines
    directory = lake.run_directory(columns.CATEGORY_POPULARITY, settings.region, snapshot.run_id, snapshot.as_of)
    rows = pq.read_table(directory, partitioning=None).to_pylist()
    popularity = {row["category"]: (row["customers"], row["share"]) for row in rows if row["customers"]}
    return Contents(spine, features, popularity)


def read_labels(settings: Settings, labels: Snapshot) -> dict[str, dict[str, int]]:
    """Class above 0 by customer and category; every labelled customer is there."""
    names = load_categories(settings).names
    directory = Lake(settings.lake).run_directory(columns.CATEGORY_LABELS, settings.region, labels.run_id, labels.as_of)
    rows = pq.read_table(directory, partitioning=None).to_pylist()
    assert len({row["customer_id"] for row in rows}) == len(rows)
    return {
        row["customer_id"]: {
            names[index]: label for index, label in zip(row["label_categories"], row["label_classes"], strict=True)
        }
        for row in rows
    }


def lake_files(settings: Settings) -> dict[str, int]:
    """Every file of the lake and its time of change, staging included."""
    return {str(f.relative_to(settings.lake)): f.stat().st_mtime_ns for f in settings.lake.rglob("*") if f.is_file()}


def anchors(first: datetime, last: datetime) -> list[Event]:
    """A customer whose two purchases say from when to when there are data."""
    return [Event("anchor", instant, category="ANCHOR", basket_id=str(instant)) for instant in (first, last)]


def shop(as_of: datetime) -> tuple[list[Event], list[Attribute]]:
    """Five customers who shop steadily up to two months past `as_of`, with every kind of event, and attributes."""
    events = anchors(as_of - timedelta(days=500), as_of + timedelta(days=90))
    for number, customer in enumerate("abcde"):
        for visit in range(40):
            moment = as_of + timedelta(days=58 - 9.5 * visit - 1.3 * number, minutes=37 * visit)
            basket = f"{customer}{visit}"
            for line, (category, kind) in enumerate([("BREAD", "RYE"), ("MILK", "WHOLE"), ("BREAD", "WHITE")]):
                if (visit * (number + 2) + line) % 3:
                    events.append(
                        Event(
                            customer,
                            moment,
                            "view" if (visit + line) % 7 == 0 else "purchase",
                            category,
                            basket,
                            kind,
                            "FRESH",
                            "own" if line else "other",
                            quantity=1 + line,
                            value=2.5 + visit / 10,
                            discount=0.25 * (visit % 2),
                            promoted=visit % 3 == 0,
                        )
                    )
            if visit % 5 == number:
                events.append(Event(customer, moment, "coupon_redemption", campaign_type="Type A"))
                events.append(Event(customer, moment - timedelta(days=2), "campaign_received", campaign_type="Type A"))
    # The line that planted ones join: an hour before the as_of, in a basket of its own.
    events.append(Event("a", as_of - timedelta(hours=1), category="BREAD", basket_id="last", product_type="RYE"))
    return events, [Attribute("a", "age", "30"), Attribute("b", "age", "40", as_of - timedelta(days=100))]
