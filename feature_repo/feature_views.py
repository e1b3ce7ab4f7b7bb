"""Sparse features of customers, labels of categories, and the propensities that scoring writes back."""

from datetime import timedelta

from feast import FeatureView

import fields
from data_sources import label_source, propensity_source, sparse_sources
from entities import customer
from propensity import columns

_DESCRIPTIONS = {
    "purchases": "What was bought in which category, how often, how recently, how steadily.",
    "products": "Purchases by product type, department and brand.",
    "promotions": "Promoted purchases, discounts, coupons and campaigns.",
    "profile": "Attributes, tenure and shopping rhythm.",
}

sparse_views = {
    family: FeatureView(
        name=columns.feature_view(family),
        entities=[customer],
        ttl=timedelta(days=35),  # weekly snapshots, with room for a late one
        schema=fields.sparse_vector,
        source=source,
        online=False,
        description=_DESCRIPTIONS[family],
    )
    for family, source in sparse_sources.items()
}
purchases, products, promotions, profile = sparse_views.values()

# A label becomes known when its window ends: that is its event time, so a training run can't see it earlier.
category_labels = FeatureView(
    name=columns.CATEGORY_LABELS,
    entities=[customer],
    ttl=timedelta(days=1),  # asked for at the window's end: an older window must not stand in
    schema=fields.labels,
    source=label_source,
    online=False,
    description="What each customer did in the label window.",
)

category_propensity = FeatureView(
    name=columns.CATEGORY_PROPENSITY,
    entities=[customer],
    ttl=timedelta(days=90),
    schema=fields.full_vectors,
    source=propensity_source,
    online=fields.settings.online_full_vectors,
    description="Propensity of every category, one row per customer and scoring run.",
)

top_categories = FeatureView(
    name=columns.TOP_CATEGORIES_VIEW,
    entities=[customer],
    ttl=timedelta(days=90),
    schema=fields.top_categories,
    source=propensity_source,
    online=True,
    description="The likeliest categories of each customer, small enough to serve online.",
)
