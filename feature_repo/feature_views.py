"""Sparse features of customers, labels of categories, and the propensities that scoring writes back."""

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Float32, Int32, String, UnixTimestamp

from data_sources import label_source, propensity_source, settings, sparse_sources
from entities import customer
from propensity import columns

_DESCRIPTIONS = {
    "purchases": "What was bought in which category, how often, how recently, how steadily.",
    "products": "Purchases by product type, department and brand.",
    "promotions": "Promoted purchases, discounts, coupons and campaigns.",
    "profile": "Attributes, tenure and shopping rhythm.",
}

# A sparse vector in two parallel lists; `feature_index` is explained by the catalogue's table `features`.
sparse_views = {
    family: FeatureView(
        name=columns.feature_view(family),
        entities=[customer],
        ttl=timedelta(days=35),  # weekly snapshots, with room for a late one
        schema=[
            Field(name=columns.INDICES, dtype=Array(Int32), description="feature_index, sorted, unique"),
            Field(name=columns.VALUES, dtype=Array(Float32), description="value of each feature, never 0"),
        ],
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
    schema=[
        Field(name=columns.AS_OF, dtype=UnixTimestamp, description="start of the label window"),
        Field(name=columns.LABEL_CATEGORIES, dtype=Array(Int32), description="categories with a class above 0"),
        Field(name=columns.LABEL_CLASSES, dtype=Array(Int32), description="their classes"),
    ],
    source=label_source,
    online=False,
    description="What each customer did in the label window.",
)

# The scores' files have this column only where there is a class between "nothing" and "all".
_classes = Field(
    name=columns.CLASS_PROPENSITIES, dtype=Array(Float32), description="of class 2 or higher, then of 3 or higher, …"
)

category_propensity = FeatureView(
    name=columns.CATEGORY_PROPENSITY,
    entities=[customer],
    ttl=timedelta(days=90),
    schema=[
        Field(name=columns.MODEL_VERSION, dtype=String),
        Field(name=columns.PROPENSITIES, dtype=Array(Float32), description="in the order of the model's categories"),
        *([_classes] if settings.labels.n_classes > 2 else []),
    ],
    source=propensity_source,
    online=settings.online_full_vectors,
    description="Propensity of every category, one row per customer and scoring run.",
)

top_categories = FeatureView(
    name=columns.TOP_CATEGORIES_VIEW,
    entities=[customer],
    ttl=timedelta(days=90),
    schema=[
        Field(name=columns.MODEL_VERSION, dtype=String),
        Field(name=columns.TOP_CATEGORIES, dtype=Array(Int32), description="category_index, likeliest first"),
        Field(name=columns.TOP_PROPENSITIES, dtype=Array(Float32), description="their propensities"),
    ],
    source=propensity_source,
    online=True,
    description="The likeliest categories of each customer, small enough to serve online.",
)
