"""The feature dictionary: which (signal, key) each `feature_index` stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class FeatureDictionary:
    """All features of a region; position i describes `feature_index` i.

    Attributes:
        family: Feature view the feature lives in, str, (n_features,).
        signal: Way of counting, e.g. `purchases_30d`, str, (n_features,).
        key: What is counted, e.g. a category's name, str, (n_features,).
        category_index: For a feature of a category-aligned signal the category's stable index, else -1;
            int32, (n_features,).
    """

    family: npt.NDArray[np.object_]
    signal: npt.NDArray[np.object_]
    key: npt.NDArray[np.object_]
    category_index: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of features, one more than the largest `feature_index`."""
        return len(self.signal)
