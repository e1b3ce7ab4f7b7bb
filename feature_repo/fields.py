"""Columns of the lake's tables that Feast reads, under Feast's types."""

from feast import Field
from feast.types import Array, Float32, Int32, String, UnixTimestamp

from propensity import columns
from propensity.settings import load_settings

settings = load_settings()

# A sparse vector in two parallel lists; `feature_index` is explained by the catalogue's table `features`.
sparse_vector = [
    Field(name=columns.INDICES, dtype=Array(Int32), description="feature_index, sorted, unique"),
    Field(name=columns.VALUES, dtype=Array(Float32), description="value of each feature, never 0"),
]

labels = [
    Field(name=columns.AS_OF, dtype=UnixTimestamp, description="start of the label window"),
    Field(name=columns.LABEL_CATEGORIES, dtype=Array(Int32), description="categories with a class above 0"),
    Field(name=columns.LABEL_CLASSES, dtype=Array(Int32), description="their classes"),
]

_model_version = Field(name=columns.MODEL_VERSION, dtype=String)
# The scores' files have this column only where there is a class between "nothing" and "all".
_classes = Field(
    name=columns.CLASS_PROPENSITIES, dtype=Array(Float32), description="of class 2 or higher, then of 3 or higher, …"
)
full_vectors = [
    _model_version,
    Field(name=columns.PROPENSITIES, dtype=Array(Float32), description="in the order of the model's categories"),
    *([_classes] if settings.labels.n_classes > 2 else []),
]
top_categories = [
    _model_version,
    Field(name=columns.TOP_CATEGORIES, dtype=Array(Int32), description="category_index, likeliest first"),
    Field(name=columns.TOP_PROPENSITIES, dtype=Array(Float32), description="their propensities"),
]
