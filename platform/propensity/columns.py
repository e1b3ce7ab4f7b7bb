"""Names of the lake's tables and columns, each spelled once.

Feast definitions, SQL, migrations and Arrow schemas import them from here; a test holds the three together.
"""

from __future__ import annotations

from typing import Final

CUSTOMER_ID: Final = "customer_id"
EVENT_TIMESTAMP: Final = "event_timestamp"
CREATED_TIMESTAMP: Final = "created_timestamp"
REGION: Final = "region"
AS_OF: Final = "as_of"
RUN: Final = "run"
"""Hive partition of a run; the files carry `run_id`, so that a row says where it comes from."""
RUN_ID: Final = "run_id"
MODEL_VERSION: Final = "model_version"

# Sparse feature views: two parallel lists a row.
INDICES: Final = "indices"
VALUES: Final = "values"

# Labels: the categories with a class above 0, and the class.
LABEL_CATEGORIES: Final = "label_categories"
LABEL_CLASSES: Final = "label_classes"

# Scores.
PROPENSITIES: Final = "propensities"
CLASS_PROPENSITIES: Final = "class_propensities"
"""Only where labels have more classes than two: probability of class k or a higher one, k = 2 .. K - 1, of every
category for k = 2, then for k = 3, …; `propensities` is that of k = 1."""
TOP_CATEGORIES: Final = "top_categories"
TOP_PROPENSITIES: Final = "top_propensities"
ABOVE_CATEGORIES: Final = "above_categories"
ABOVE_PROPENSITIES: Final = "above_propensities"
"""Only in the output form above_threshold: stable indices, rising, and propensities of the categories kept."""
COMPACT_PROPENSITIES: Final = "compact_propensities"
COMPACT_CLASS_PROPENSITIES: Final = "compact_class_propensities"
"""Only in the output form compact: what stands for `propensities` and `class_propensities`, which SQL gives back."""

# Lake tables.
EVENTS: Final = "events"
ITEMS: Final = "items"
CUSTOMERS: Final = "customers"
QUARANTINE: Final = "quarantine"
CATEGORY_LABELS: Final = "category_labels"
CATEGORY_POPULARITY: Final = "category_popularity"
CATEGORY_PROPENSITY: Final = "category_propensity"

FAMILIES: Final = ("purchases", "products", "promotions", "profile")


def feature_view(family: str) -> str:
    """Name of the feature view, and of the lake table, that holds a family of signals."""
    return f"customer_{family}"


# Feast: a second view over the scores, and the feature services.
TOP_CATEGORIES_VIEW: Final = "category_propensity_top"
TRAINING_SERVICE: Final = "propensity_training_v1"
LABEL_SERVICE: Final = "propensity_labels_v1"
SERVING_SERVICE: Final = "propensity_serving_v1"
FULL_SERVICE: Final = "propensity_full_v1"
