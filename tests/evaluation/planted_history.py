"""Customers who buy again what they bought: a signal that every personal baseline must find.

400 customers, 8 categories, four as_ofs 30 days apart. Each customer has a few favourite categories; a purchase count
says how strongly, and the label is drawn with a probability that rises with it. Categories 0..3 go together: who
favours one is likely to try the others. Category 7 is new: nobody bought it, ever, in training.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from propensity.features.dictionary import FeatureDictionary
from propensity.training.examples import Examples

CUSTOMERS, CATEGORIES, NEW = 400, 8, 7
SIGNALS = ("purchases_365d", "purchases_decay_60d", "purchases_decay_180d")
DICTIONARY = FeatureDictionary(
    family=np.array(["purchases"] * len(SIGNALS) * CATEGORIES + ["profile"], dtype=object),
    signal=np.array([signal for signal in SIGNALS for _ in range(CATEGORIES)] + ["tenure_days"], dtype=object),
    key=np.array([*[f"C{category}" for category in range(CATEGORIES)] * len(SIGNALS), ""], dtype=object),
    category_index=np.array([*list(range(CATEGORIES)) * len(SIGNALS), -1], dtype=np.int32),
)
AS_OFS = np.array(["2024-01-01", "2024-01-31", "2024-03-01", "2024-03-31"], dtype="datetime64[us]")


def planted() -> tuple[Examples, Examples]:
    """Return the training rows (the first three as_ofs) and the test rows (the last)."""
    generator = np.random.default_rng(11)
    liking = np.where(generator.random((CUSTOMERS, CATEGORIES)) < 0.35, generator.uniform(0.5, 6, (1, CATEGORIES)), 0.0)
    herd = generator.random(CUSTOMERS) < 0.4
    liking[:, :4] *= np.where(herd, 1.6, 0.3)[:, None]
    liking[:, NEW] = 0
    counts, labels, popularity = [], [], []
    for _ in AS_OFS:
        count = generator.poisson(liking).astype(np.float32)
        chance = np.where(count > 0, 0.15 + 0.7 * (1 - np.exp(-count / 2)), 0.02 + 0.2 * herd[:, None])
        chance[:, 4:] = np.where(count[:, 4:] > 0, chance[:, 4:], 0.03)
        chance[:, NEW] = 0
        counts.append(count)
        labels.append(generator.random(count.shape) < chance)
        popularity.append(chance.mean(axis=0))
    examples = Examples(
        customer_id=np.array([f"c{row}" for row in range(CUSTOMERS)] * len(AS_OFS), dtype=object),
        as_of=AS_OFS,
        as_of_position=np.repeat(np.arange(len(AS_OFS), dtype=np.int32), CUSTOMERS),
        features=csr_matrix(
            np.vstack([np.hstack((c, c * 0.5, c * 0.8, np.full((CUSTOMERS, 1), 90))) for c in counts]).astype("f4")
        ),
        labels=csr_matrix(np.vstack(labels).astype(np.int8)),
        popularity=np.stack(popularity).astype(np.float32),
    )
    newest = AS_OFS[-1] == AS_OFS
    return examples.at(~newest), examples.at(newest)
