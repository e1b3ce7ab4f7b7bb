"""Arrow schemas of the lake's tables. Instants are microseconds in UTC at every boundary: Spark refuses nanoseconds."""

from __future__ import annotations

import pyarrow as pa

from propensity import columns

INSTANT = pa.timestamp("us", "UTC")

FEATURE_SCHEMA = pa.schema(
    [
        (columns.CUSTOMER_ID, pa.string()),
        (columns.EVENT_TIMESTAMP, INSTANT),
        (columns.CREATED_TIMESTAMP, INSTANT),
        (columns.REGION, pa.string()),
        (columns.RUN_ID, pa.string()),
        (columns.INDICES, pa.list_(pa.int32())),
        (columns.VALUES, pa.list_(pa.float32())),
    ]
)
"""A sparse feature view: `event_timestamp` is the as_of; the lists are parallel, indices sorted and unique."""

POPULARITY_SCHEMA = pa.schema(
    [
        ("category_index", pa.int32()),
        ("category", pa.string()),
        (columns.EVENT_TIMESTAMP, INSTANT),
        (columns.CREATED_TIMESTAMP, INSTANT),
        (columns.REGION, pa.string()),
        (columns.RUN_ID, pa.string()),
        ("customers", pa.int64()),
        ("share", pa.float32()),
    ]
)
"""How many of the customers known at the as_of acted in the category in the 30 days before it."""

LABEL_SCHEMA = pa.schema(
    [
        (columns.CUSTOMER_ID, pa.string()),
        (columns.EVENT_TIMESTAMP, INSTANT),
        (columns.CREATED_TIMESTAMP, INSTANT),
        (columns.REGION, pa.string()),
        (columns.RUN_ID, pa.string()),
        (columns.AS_OF, INSTANT),
        (columns.LABEL_CATEGORIES, pa.list_(pa.int32())),
        (columns.LABEL_CLASSES, pa.list_(pa.int32())),
    ]
)
"""Labels: `event_timestamp` is the window's end, when they became known; categories not listed have class 0."""

PROPENSITY_SCHEMA = pa.schema(
    [
        (columns.CUSTOMER_ID, pa.string()),
        (columns.EVENT_TIMESTAMP, INSTANT),
        (columns.CREATED_TIMESTAMP, INSTANT),
        (columns.REGION, pa.string()),
        (columns.MODEL_VERSION, pa.string()),
        (columns.RUN_ID, pa.string()),
        (columns.PROPENSITIES, pa.list_(pa.float32())),
        (columns.TOP_CATEGORIES, pa.list_(pa.int32())),
        (columns.TOP_PROPENSITIES, pa.list_(pa.float32())),
    ]
)
"""Scores: `event_timestamp` is the as_of; `propensities` in the order of the model's categories."""
CLASS_PROPENSITY_SCHEMA = PROPENSITY_SCHEMA.append(pa.field(columns.CLASS_PROPENSITIES, pa.list_(pa.float32())))
"""Scores of a model of more classes than two."""

ABOVE_FIELDS = (
    pa.field(columns.ABOVE_CATEGORIES, pa.list_(pa.int32())),
    pa.field(columns.ABOVE_PROPENSITIES, pa.list_(pa.float32())),
)
"""What the output form above_threshold adds; the full vectors are null there."""
COMPACT_STEPS = 4095
"""A compact score q stands for the propensity (q / COMPACT_STEPS)**2; 12 bits."""
COMPACT_FIELD = pa.field(columns.COMPACT_PROPENSITIES, pa.list_(pa.int16()))
COMPACT_CLASS_FIELD = pa.field(columns.COMPACT_CLASS_PROPENSITIES, pa.list_(pa.int16()))
"""What the output form compact adds, the second one for more classes than two; the full vectors are null there."""
