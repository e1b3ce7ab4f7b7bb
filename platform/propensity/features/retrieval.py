"""Asking Feast for customers' features at as_ofs, by the feature service that training and scoring share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from propensity import columns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from feast import FeatureStore


def features_job(
    store: FeatureStore,
    customer_id: npt.NDArray[np.object_],
    as_ofs: Sequence[datetime],
    position: npt.NDArray[np.int32],
) -> Any:
    """Ask Feast for the customers' features, each at the as_of of its `position`; return its retrieval job.

    The job gives rows in the customers' order, as a table or as a stream of record batches.
    """
    return store.get_historical_features(
        entity_df=entity_frame(customer_id, as_ofs, position),
        features=store.get_feature_service(columns.TRAINING_SERVICE),
        full_feature_names=True,
    )


def entity_frame(
    customer_id: npt.NDArray[np.object_], instants: Sequence[datetime], position: npt.NDArray[np.int32]
) -> pd.DataFrame:
    """Return Feast's entity frame: each customer at the instant of its `position`."""
    stamps = pd.DatetimeIndex(pd.to_datetime(list(instants), utc=True)).as_unit("us")
    return pd.DataFrame({columns.CUSTOMER_ID: customer_id, columns.EVENT_TIMESTAMP: stamps[position]})
