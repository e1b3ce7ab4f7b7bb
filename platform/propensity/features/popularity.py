"""How popular each category was at a snapshot: the prior of every score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from propensity import columns
from propensity.arrow_numpy import numpy_array
from propensity.errors import MissingSnapshotError
from propensity.warehouse.lake import Lake

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.snapshot import Snapshot
    from propensity.settings import Settings


def popularity(settings: Settings, snapshot: Snapshot, n_categories: int) -> npt.NDArray[np.float32]:
    """Return each category's share of buyers at the snapshot, float32, (n_categories,). Read-only.

    Raises:
        MissingSnapshotError: The file is gone from the lake.
    """
    directory = Lake(settings.lake).run_directory(
        columns.CATEGORY_POPULARITY, settings.region, snapshot.run_id, snapshot.as_of
    )
    file = directory / "part-0.parquet"
    if not file.is_file():
        raise MissingSnapshotError(
            f"The lake lacks {file}. Build it again: propensity features build --as-of {snapshot.as_of.isoformat()}"
        )
    table = pq.ParquetFile(file).read(["category_index", "share"])
    shares = np.zeros(n_categories, np.float32)
    index, share = numpy_array(table.column("category_index")), numpy_array(table.column("share"))
    known = index < n_categories
    shares[index[known]] = share[known]
    return shares
