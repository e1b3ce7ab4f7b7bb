"""What happens in a test window reaches nothing that is tested on it: neither features nor any part of the model.

The shop's future is replaced by another, from the instant of the cut-off on, and everything is built anew; then the
same plants a microsecond earlier must change every one of the parts, or the comparison would see nothing.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from propensity.api import Platform
from propensity.experiments.backtest import Backtest
from tests import shop

AS_OF = datetime(2024, 8, 1, 4, tzinfo=UTC)
VALIDATION_AS_OF = datetime(2024, 7, 2, 4, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
BASELINES = {"personal_frequency", "recency_weighted_frequency", "global_popularity"}
IDENTITIES = ("model_version", "data_fingerprint")
"""They name the import that the rows came with, whose file the future is in as well."""
NAMED = ("metadata.json", "MODEL_CARD.md", "SHA256SUMS")
"""Files of an artifact that hold the identities."""
KEPT = "backtests/us/models/*"
NEW_CATEGORY = "ZUCCHINI"
"""Behind all others by name: the catalogue numbers the categories of one import by name, and a number is no leak."""


def another_future() -> list[dict]:
    """The shop's events; from AS_OF on, each has another customer, category, price and day, and a third are gone."""
    rows = shop.event_rows()
    past = [row for row in rows if row["event_timestamp"] < AS_OF]
    future = [row for row in rows if row["event_timestamp"] >= AS_OF]
    rng = np.random.default_rng(3)
    customers = rng.permutation([row["customer_id"] for row in future])
    instants = rng.permutation(np.array([row["event_timestamp"] for row in future], object))
    shuffled = [
        row | {"customer_id": str(customer), "event_timestamp": instant, "value": 3.0 * (row["value"] or 0.0) + 1.0}
        for row, customer, instant in zip(future, customers, instants, strict=True)
        if rng.random() < 2 / 3
    ]
    newcomers = [row | {"customer_id": f"new{number}"} for number, row in enumerate(shuffled[:20])]
    return past + shuffled + newcomers


def plants(instant: datetime) -> list[dict]:
    """Purchases of half the customers and of a new one, in a new category, product type, brand and department."""
    like = next(row for row in shop.event_rows() if row["event_type"] == "purchase")
    new = {
        "category": NEW_CATEGORY, "product_type": "NEW TYPE", "brand": "NEW BRAND", "department": "NEW DEPARTMENT",
        "event_timestamp": instant,
    }  # fmt: skip
    customers = [*(shop.customer_name(number) for number in range(0, shop.CUSTOMERS, 2)), "planted"]
    return [like | new | {"customer_id": customer} for customer in customers]


def backtested(home: Path, finished_home: Path, shop_directory: Path, rows: list[dict]) -> Backtest:
    """Import the rows into a new home and backtest at AS_OF there."""
    home.mkdir()
    shop.write_events(home / "events.parquet", rows)
    shutil.copytree(finished_home / "feast", home / "feast")
    platform = Platform(shop.settings_of(home))
    platform.import_customers(str(shop_directory / "customers.csv"))
    platform.import_events(str(home / "events.parquet"))
    # Feast's registry, copied, holds no path: to apply it again for this home takes seconds and changes nothing.
    with mock.patch("propensity.experiments.ingredients.apply_repository", return_value=False):
        return platform.backtest([shop.AS_OF], keep_models=True)


def parts(home: Path, models: str, predictions: Path) -> dict[str, object]:
    """Everything that a test at AS_OF is made of, but the window's labels, by name.

    Args:
        home: Where to read.
        models: Directory of the artifacts in it.
        predictions: Home with the baselines' predictions.
    """
    platform = Platform(shop.settings_of(home))
    built = platform.training_set([shop.AS_OF], labels=False)
    rows, names = built.examples, built.dictionary
    features = rows.features.tocoo()
    (artifact,) = home.glob(f"{models}/20240801-*")
    found = {
        "customers": rows.customer_id.tolist(),
        "features": [features.row.tolist(), features.col.tolist(), features.data.tolist()],
        "feature dictionary": [names.signal.tolist(), names.key.tolist()],
        "popularity at the cut-off": np.trim_zeros(rows.popularity[0], "b").tolist(),
    }
    for file in sorted(path for path in artifact.rglob("*") if path.is_file() and path.name not in NAMED):
        found[str(file.relative_to(artifact))] = file.read_bytes()
    for metadata in ("metadata.json", "validated/metadata.json"):
        described = json.loads((artifact / metadata).read_text())
        # Categories with their popularity prior, losses of every epoch, windows, settings.
        found[metadata] = {name: value for name, value in described.items() if name not in IDENTITIES}
    assert {"encoder.parquet", "encoder.json", "calibration.json", "weights.safetensors"} <= found.keys()
    for name in BASELINES:
        said = [np.load(file)["probabilities"] for file in predictions.glob(f"reports/us/baselines/{name}-*.npz")]
        found[name] = sorted(array[:, : len(shop.CATEGORIES)].tobytes() for array in said)
    return found


@pytest.fixture(scope="module")
def as_it_was(finished_home, backtested_home) -> dict[str, object]:
    """The parts in the shop's own home: its champion is what a backtest at AS_OF trains."""
    return parts(finished_home, "models/us", backtested_home)


@pytest.fixture(scope="module")
def another(tmp_path_factory, finished_home, shop_directory) -> tuple[Backtest, dict[str, object]]:
    home = tmp_path_factory.mktemp("another future") / "home"
    result = backtested(home, finished_home, shop_directory, another_future() + plants(AS_OF))
    return result, parts(home, KEPT, home)


def differing(found: dict[str, object], expected: dict[str, object]) -> set[str]:
    assert found.keys() == expected.keys()
    return {name for name in found if found[name] != expected[name]}


def test_another_future_changes_nothing_but_the_figures(another, as_it_was, backtested_home):
    result, found = another
    assert differing(found, as_it_was) - BASELINES == set()
    # The earlier cut-off's predictions are among the shop's own.
    assert all(set(found[name]) <= set(as_it_was[name]) for name in BASELINES)
    (report,) = backtested_home.glob("reports/us/backtest-*/figures.json")
    own = json.loads(report.read_text())["figures"]
    (before,) = [row for row in own if (row["cutoff"], row["model"]) == (shop.AS_OF, "net")]
    now = result.results[0].net
    assert now.households == before["customers"]
    assert now.all.log_loss > 1.5 * before["all.log_loss"]  # the habits are gone


def test_a_microsecond_earlier_changes_everything(as_it_was, tmp_path, finished_home, shop_directory):
    rows = shop.event_rows() + plants(AS_OF - MICROSECOND) + plants(VALIDATION_AS_OF - MICROSECOND)
    backtested(tmp_path / "home", finished_home, shop_directory, rows)
    found = parts(tmp_path / "home", KEPT, tmp_path / "home")
    assert as_it_was.keys() - differing(found, as_it_was) == set()
    assert not any(set(found[name]) & set(as_it_was[name]) for name in BASELINES)
