"""What training asks for, and what consumers ask for."""

from feast import FeatureService

from feature_views import category_labels, category_propensity, sparse_views, top_categories
from propensity import columns

propensity_training_v1 = FeatureService(
    name=columns.TRAINING_SERVICE,
    features=list(sparse_views.values()),
    description="Features of a training or scoring set; ask with event_timestamp = as_of.",
)
propensity_labels_v1 = FeatureService(
    name=columns.LABEL_SERVICE,
    features=[category_labels],
    description="Labels of a training set; ask with event_timestamp = the label window's end.",
)
propensity_serving_v1 = FeatureService(
    name=columns.SERVING_SERVICE,
    features=[top_categories],
    description="What applications read online.",
)
propensity_full_v1 = FeatureService(
    name=columns.FULL_SERVICE,
    features=[category_propensity],
    description="Full propensity vectors, for models downstream.",
)
