"""TIFU-KNN: a customer's own fading purchases, and those of the customers who buy alike.

Source: Hu, He, Gao and Zhang 2020, "Modeling Personalized Item Frequency Information for Next-basket Recommendation",
SIGIR, section 4: a user vector is the sum of baskets that fade with time, and the prediction is `alpha` times the own
vector plus `1 - alpha` times the mean vector of the k nearest users. Two things differ. The paper fades by basket
number within groups of baskets; here a purchase halves every 180 days, a decay that the snapshots hold. And vectors
are log1p(v) with cosine similarity instead of v with Euclidean distance, which ranks better on Complete Journey's
earlier windows: the peer is to be as strong as it can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from scipy.sparse import csr_matrix

from propensity.baselines.calibration import MAX_BINS, RisingCurve, fit_rising_curve
from propensity.baselines.interface import FitOptions
from propensity.baselines.split_curves import newest_labelled
from propensity.training.aligned_signal import aligned_signal

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples

BLOCK_CELLS: Final = 8_000_000
"""Similarities and scores held at once, 32 MB of float32 each, however many customers there are."""
PAIRS_A_BIN: Final = 50
"""Scores hardly ever tie; with a handful of pairs a bin, the half pair added to each would pull all shares to 1/2."""


@dataclass(frozen=True)
class TifuKnn:
    """Own purchases and those of the nearest customers at the same as_of, calibrated on the newest training as_of.

    Neighbours are found by features only, so those of an as_of to be predicted are known at that as_of. Nothing is
    learned from labels but the two maps to a probability, one for pairs with a purchase and one for those without.
    Time grows with the square of the customers, memory with their purchases.
    """

    options: FitOptions = field(default_factory=FitOptions)
    signal: ClassVar[str] = "purchases_decay_180d"
    neighbours: ClassVar[int] = 100
    alpha: ClassVar[float] = 0.7

    def fit(self, examples: Examples, dictionary: FeatureDictionary) -> FittedTifuKnn:
        """Fit the two maps on the newest as_of. See `Baseline.fit`."""
        newest = newest_labelled(examples, type(self).__name__)
        assert newest.labels is not None
        vectors = _vectors(newest, dictionary, self.signal)
        pairs: dict[bool, list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]] = {False: [], True: []}
        for rows, score in _scores(vectors, self.neighbours, self.alpha):
            positive = (newest.labels[rows] > 0).toarray()
            seen = (vectors[rows] > 0).toarray()
            for group, found in pairs.items():
                found.append((score[seen == group], positive[seen == group]))
        unseen, seen_curve = (
            _curve(*(np.concatenate(part) for part in zip(*pairs[group], strict=True))) for group in (False, True)
        )
        return FittedTifuKnn(dictionary, self.signal, self.neighbours, self.alpha, seen_curve, unseen)


@dataclass(frozen=True)
class FittedTifuKnn:
    """Two maps from the score of TIFU-KNN to a probability.

    Attributes:
        dictionary: Describes the features it was fitted with.
        signal: Category-aligned signal that is the user vector.
        neighbours: k.
        alpha: Weight of the own vector.
        seen: Map for pairs with a purchase.
        unseen: Map for the others.
    """

    dictionary: FeatureDictionary
    signal: str
    neighbours: int
    alpha: float
    seen: RisingCurve
    unseen: RisingCurve

    def predict(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the probability of a positive label, see `FittedBaseline.predict`.

        The neighbours are other rows of the same as_of: give all customers of it, not a few.
        """
        vectors = _vectors(examples, self.dictionary, self.signal)
        probability = np.zeros(vectors.shape, np.float32)
        for position in range(len(examples.as_of)):
            mine = np.flatnonzero(examples.as_of_position == position)
            own = vectors[mine]
            for rows, score in _scores(own, self.neighbours, self.alpha):
                seen = (own[rows] > 0).toarray()
                mapped = np.zeros(score.shape)
                for curve, mask in ((self.seen, seen), (self.unseen, ~seen)):
                    # A map without a block saw no such pair in training; the other one is the nearest there is.
                    known = curve if len(curve.score) else (self.unseen if curve is self.seen else self.seen)
                    mapped[mask] = known(score[mask])
                probability[mine[rows]] = mapped
        return probability


def _curve(score: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> RisingCurve:
    return fit_rising_curve(score, positive, max_bins=min(max(len(score) // PAIRS_A_BIN, 1), MAX_BINS))


def _vectors(examples: Examples, dictionary: FeatureDictionary, signal: str) -> csr_matrix:
    """Return the user vectors, float32, (n_examples, n_categories)."""
    vectors = aligned_signal(examples, dictionary, signal)
    vectors.data = np.log1p(np.maximum(vectors.data, 0))
    return vectors


def _scores(
    vectors: csr_matrix, neighbours: int, alpha: float
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Yield rows and their scores, float32, dense, (n_block, n_categories), block after block.

    A customer without purchases is like nobody and gets the mean of all; so does everybody where there are no more
    than k others.
    """
    n_rows = vectors.shape[0]
    length = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1), np.float64)).ravel()
    unit = csr_matrix(vectors.multiply(1 / np.maximum(length, 1e-12)[:, None]), dtype=np.float32)
    average = np.asarray(vectors.mean(axis=0), np.float32).ravel()
    per_block = max(BLOCK_CELLS // max(*vectors.shape, 1), 1)
    for start in range(0, n_rows, per_block):
        rows = np.arange(start, min(start + per_block, n_rows))
        nearest = np.broadcast_to(average, (len(rows), vectors.shape[1])).copy()
        if n_rows - 1 > neighbours:
            alike = np.flatnonzero(length[rows] > 0)
            similarity = -(unit[rows[alike]] @ unit.T).toarray()
            similarity[np.arange(len(alike)), rows[alike]] = np.inf
            found = np.sort(np.argpartition(similarity, neighbours - 1, axis=1)[:, :neighbours], axis=1)
            pointers = np.arange(0, found.size + 1, neighbours)
            share = csr_matrix(
                (np.full(found.size, 1 / neighbours, np.float32), found.ravel(), pointers), shape=(len(alike), n_rows)
            )
            nearest[alike] = (share @ vectors).toarray()
        yield rows, alpha * vectors[rows].toarray() + (1 - alpha) * nearest
