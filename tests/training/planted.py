"""Small made-up examples with a known right answer, shared by the tests of training, models and scoring."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from propensity.features.dictionary import FeatureDictionary
from propensity.models.artifact import TrainingFacts, write_artifact
from propensity.settings import TrainingSettings
from propensity.training.examples import Examples
from propensity.training.fitting import FittedModel, fit

N_CATEGORIES = 12
N_OTHER = 30
SIGNALS = ("purchases_30d", "recency_days")
CROSS = SIGNALS[:1]
CATEGORIES = [f"CATEGORY {i}" for i in range(N_CATEGORIES)]
QUICK = TrainingSettings(
    epochs=4,
    hidden=(16, 8),
    aligned_hidden=(8, 4),
    embedding=2,
    context=2,
    min_feature_rows=5,
    learning_rate=1e-2,
    batch_size=32,
    cross_signals=CROSS,
    dropout=0.2,
    nets=1,
)


def dictionary() -> FeatureDictionary:
    """`SIGNALS` for each category, then N_OTHER features that aren't aligned, then one of the customer as a whole."""
    n_aligned = len(SIGNALS) * N_CATEGORIES
    category = np.tile(np.arange(N_CATEGORIES), len(SIGNALS))
    return FeatureDictionary(
        family=np.array(["purchases"] * n_aligned + ["products"] * N_OTHER + ["profile"], object),
        signal=np.array(
            [s for s in SIGNALS for _ in range(N_CATEGORIES)] + ["type_90d"] * N_OTHER + ["visits_30d"], object
        ),
        key=np.array([CATEGORIES[i] for i in category] + [f"type {i}" for i in range(N_OTHER)] + [""], object),
        category_index=np.concatenate((category, np.full(N_OTHER + 1, -1))).astype(np.int32),
    )


def examples(n_customers: int, n_as_of: int, seed: int, n_classes: int = 2) -> Examples:
    """Customers who repeat: `true_propensity` rises with a category's purchases and falls with its recency.

    With three classes a buyer whose recency is below 20 days is of class 2.
    """
    rng = np.random.default_rng(seed)
    shape = (n_customers * n_as_of, N_CATEGORIES)
    bought = rng.poisson(2.0, shape) * (rng.random(shape) < 0.3)
    recency = np.where(bought > 0, rng.uniform(1, 60, shape), 0.0)
    other = rng.poisson(0.3, (shape[0], N_OTHER))
    visits = np.arange(shape[0])[:, None] % 7
    features = csr_matrix(np.concatenate((bought, recency, other, visits), axis=1).astype(np.float32))
    label = (rng.random(shape) < true_propensity(features)).astype(np.int8)
    if n_classes == 3:
        label += ((label > 0) & (recency > 0) & (recency < 20)).astype(np.int8)
    return Examples(
        customer_id=np.array([f"c{i}" for i in range(shape[0])], object),
        as_of=np.datetime64("2024-01-01", "us") + np.arange(n_as_of) * np.timedelta64(14, "D"),
        as_of_position=np.repeat(np.arange(n_as_of, dtype=np.int32), n_customers),
        features=features,
        labels=csr_matrix(label),
        popularity=np.array([(rows > 0).mean(axis=0) for rows in np.split(bought, n_as_of)], np.float32),
    )


def true_propensity(features: csr_matrix) -> np.ndarray:
    """The probability labels are drawn with, (n_rows, N_CATEGORIES)."""
    dense = features.toarray()
    bought, recency = dense[:, :N_CATEGORIES], dense[:, N_CATEGORIES : 2 * N_CATEGORIES]
    return 1 / (1 + np.exp(-np.where(bought > 0, 1.5 * np.log1p(bought) - 0.05 * recency, -3.0)))


def fit_quickly(n_classes: int = 2, seed: int = 7, **changed: object) -> FittedModel:
    """Fit on planted examples."""
    train, validation = (examples(500, 2, i, n_classes) for i in (1, 2))
    return fit(
        train,
        validation,
        None,
        dictionary=dictionary(),
        categories=CATEGORIES,
        settings=QUICK.model_copy(update={"seed": seed, **changed}),
        n_classes=n_classes,
    )


@cache
def fitted(n_classes: int = 2, network: str = "category_aligned") -> FittedModel:
    """`fit_quickly`, once per test run; don't change what it returns."""
    return fit_quickly(n_classes, network=network)


def write(directory: Path, n_classes: int = 2) -> Path:
    """Write `fitted` as an artifact."""
    start, end = datetime(2024, 1, 1, 5, tzinfo=UTC), datetime(2024, 3, 1, 5, tzinfo=UTC)
    facts = TrainingFacts(
        region="us",
        model_version="v1",
        horizon_days=30,
        event_types=("view", "purchase")[-(n_classes - 1) :],
        training_as_ofs=(start,),
        training_window=(start, end),
        validation_as_of=start,
        data_fingerprint="planted",
        settings=QUICK.model_dump(mode="json"),
    )
    model = fitted(n_classes)
    return write_artifact(
        directory,
        model.model,
        facts=facts,
        dictionary=dictionary(),
        metrics={"log_loss": 0.25, "baselines": {"popularity": 0.5}},
        history=model.history,
        exports=model.exports,
    )
