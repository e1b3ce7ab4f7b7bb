"""A small simulated shop, so that the whole job runs in seconds.

Each customer has a few habits: a category, a rhythm of so many days, a phase. The seed fixes every row, so two
homes built from it hold the same events, features, labels and propensities.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from propensity.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
CATEGORIES = (
    "BREAD",
    "CHEESE",
    "COFFEE",
    "FRUIT",
    "ICE CREAM",
    "MILK",
    "PASTA",
    "SOAP",
    "SOFT DRINKS",
    "TEA",
    "VEGETABLES",
    "WINE",
)
DAYS = 260
FIRST_DAY = datetime(2024, 1, 1, 14, tzinfo=UTC)
AS_OF = "2024-08-01"
SOON_AFTER = "2024-08-08"
"""A week later: the model of AS_OF still serves."""
MUCH_LATER = "2024-09-05"
"""Five weeks later: a new model is due."""
CUTOFFS = ("2024-07-02", AS_OF)
"""What the shop's backtest looks at."""
CUSTOMERS = 80
BAD_ROWS = 3

OPTIONS = {
    "PROPENSITY_TRAINING__EPOCHS": "2",
    "PROPENSITY_TRAINING__CUTOFFS": "3",
    "PROPENSITY_TRAINING__CUTOFF_EVERY_DAYS": "30",
    "PROPENSITY_TRAINING__HIDDEN": "[16, 8]",
    "PROPENSITY_TRAINING__ALIGNED_HIDDEN": "[8, 4]",
    "PROPENSITY_TRAINING__MIN_FEATURE_ROWS": "5",
    "PROPENSITY_TRAINING__NETS": "1",
    "PROPENSITY_TRAINING__DROPOUT": "0.3",
    "PROPENSITY_TRAINING__ALIGNED_DROPOUT": "0.3",
    # Habits here never change, so counting them is hard to beat for a net trained on 160 rows.
    "PROPENSITY_GATE__BASELINES": '["global_popularity"]',
    "PROPENSITY_TOP_K": "5",
    "PROPENSITY_THREADS": "1",
    "PROPENSITY_LOCK_TIMEOUT_SECONDS": "5",
}


def customer_name(number: int) -> str:
    return f"c{number:03d}"


def event_rows(seed: int = 1, customers: int = CUSTOMERS) -> list[dict]:
    """Return the shop's events in time order, `BAD_ROWS` unusable ones among them."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(customers):
        joined = int(rng.integers(0, 60))
        for category in rng.choice(len(CATEGORIES), size=int(rng.integers(2, 5)), replace=False):
            rhythm, day = float(rng.uniform(5, 40)), joined + float(rng.uniform(0, 20))
            while day < DAYS:
                promoted = bool(rng.random() < 0.2)
                value = round(float(rng.uniform(1, 9)), 2)
                rows.append(
                    _event(
                        number,
                        day,
                        "purchase",
                        category=CATEGORIES[category],
                        product_type=f"{CATEGORIES[category]} {'LARGE' if rng.random() < 0.3 else 'SMALL'}",
                        department="DRINKS"
                        if CATEGORIES[category] in ("COFFEE", "TEA", "WINE", "SOFT DRINKS")
                        else "FOOD",
                        brand="OWN" if rng.random() < 0.5 else "NAMED",
                        quantity=float(rng.integers(1, 4)),
                        value=value,
                        discount=round(value / 10, 2) if promoted else 0.0,
                        promoted=promoted,
                    )
                )
                day += max(1.0, rng.normal(rhythm, rhythm / 5))
        if rng.random() < 0.5:
            rows.append(_event(number, joined + 40, "campaign_received", campaign_type="TypeA"))
            rows.append(_event(number, joined + 45, "coupon_redemption", category="WINE", campaign_type="TypeA"))
    rows.sort(key=lambda row: (row["event_timestamp"], row["customer_id"], row["category"] or ""))
    bad = [
        _event(number, 100 + number, "purchase", category=CATEGORIES[0], quantity=0.0, value=1.0)
        for number in range(BAD_ROWS)
    ]
    return rows + bad


def _event(number: int, day: float, event_type: str, **fields: object) -> dict:
    instant = FIRST_DAY + timedelta(days=int(day), minutes=7 * number % 480)
    optional = dict.fromkeys(
        (
            "category",
            "product_type",
            "department",
            "brand",
            "quantity",
            "value",
            "discount",
            "promoted",
            "campaign_type",
        )
    )
    return (
        {"customer_id": customer_name(number), "event_timestamp": instant, "event_type": event_type} | optional | fields
    )


def write_shop(directory: Path, seed: int = 1, customers: int = CUSTOMERS) -> Path:
    """Write events.parquet and customers.csv below `directory` and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    write_events(directory / "events.parquet", event_rows(seed, customers))
    lines = [f"{customer_name(number)},{'under 40' if number % 3 else '40 and over'}" for number in range(customers)]
    (directory / "customers.csv").write_text("\n".join(["customer_id,age", *lines]) + "\n")
    return directory


def write_events(path: Path, rows: list[dict]) -> None:
    """Write rows such as `event_rows` gives as a Parquet file."""
    schema = pa.schema(
        {
            "customer_id": pa.string(),
            "event_timestamp": pa.timestamp("us", "UTC"),
            "event_type": pa.string(),
            "category": pa.string(),
            "product_type": pa.string(),
            "department": pa.string(),
            "brand": pa.string(),
            "quantity": pa.float64(),
            "value": pa.float64(),
            "discount": pa.float64(),
            "promoted": pa.bool_(),
            "campaign_type": pa.string(),
        }
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def environment(home: Path, **options: str) -> dict[str, str]:
    """Return the environment of a process that works on `home` with the shop's settings."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PROPENSITY_")}
    return mine | OPTIONS | {"PROPENSITY_HOME": str(home)} | options


def settings_of(home: Path, **flags: object) -> Settings:
    """Return the settings that `environment(home)` gives."""
    training = {
        name.removeprefix("PROPENSITY_TRAINING__").lower(): value
        if value[0] != "["
        else tuple(map(int, value[1:-1].split(",")))
        for name, value in OPTIONS.items()
        if name.startswith("PROPENSITY_TRAINING__")
    }
    gate = {"baselines": json.loads(OPTIONS["PROPENSITY_GATE__BASELINES"])}
    return load_settings(
        **{"home": home, "top_k": 5, "threads": 1, "lock_timeout_seconds": 5, "training": training, "gate": gate}
        | flags
    )


def propensity(home: Path, *arguments: str, timeout: float = 600, **options: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on `home` in a process of its own."""
    return subprocess.run(
        command(*arguments),
        env=environment(home, **options),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "propensity"), *arguments]


def rows_of(pattern: str, query: str = "SELECT *", *, order: str | None = None) -> list[tuple]:
    """Query the Parquet files of a pattern, past all the platform's own readers."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        ordered = f" ORDER BY {order}" if order else ""
        files = f"read_parquet('{pattern}', hive_partitioning = false)"
        return connection.sql(f"{query} FROM {files}{ordered}").fetchall()
