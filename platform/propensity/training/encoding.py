"""Fits the encoder on the training examples, and on nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.errors import TrainingError, did_you_mean
from propensity.models.encoding import Encoder
from propensity.training.example_sums import ExampleSums, add_up

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import ExampleChunks

    Int32Array = npt.NDArray[np.int32]


ROW_LENGTH: Final = 32.0
"""Mean squared length of an encoded training row: what the first weights and Adam's step are made for."""


def fit_encoder(
    examples: ExampleChunks,
    dictionary: FeatureDictionary,
    categories: Sequence[str],
    min_feature_rows: int,
    *,
    aligned_columns: bool = True,
    cross_signals: Sequence[str] = (),
) -> Encoder:
    """Choose columns, scales and the model's categories, in one pass over the examples.

    A feature that at least `min_feature_rows` training rows have is a column of the deep part's input, columns
    by falling frequency. The model's categories are those with any evidence in the training rows, as label
    or as category-aligned signal. A category-aligned signal needs no minimum: its weights are shared by all
    categories.

    Args:
        examples: Training rows with labels.
        dictionary: At least as long as the widest feature index in `examples`.
        categories: Name of each `category_index`.
        min_feature_rows: Training rows a feature needs for a column of its own.
        aligned_columns: Whether category-aligned features get columns too.
        cross_signals: Category-aligned signals that the cross-category part reads.

    Raises:
        TrainingError: No category has any evidence, a cross signal is unknown, or dictionary or names are shorter than
            the data.
    """
    n_features = examples.n_features
    if len(dictionary) < n_features:
        raise TrainingError(
            f"The examples have {n_features} features, the dictionary names {len(dictionary)}. "
            "See: propensity features build"
        )
    category_of = dictionary.category_index[:n_features]
    sums = add_up(examples, category_of)
    counts = sums.counts
    category_index = np.union1d(category_of[(category_of >= 0) & (counts > 0)], sums.labelled).astype(np.int32)
    if len(category_index) == 0:
        raise TrainingError("No category has a label or a signal in training. See: propensity features build")
    if category_index[-1] >= len(categories):
        raise TrainingError(
            f"The examples have category {category_index[-1]}, but {len(categories)} names are known. "
            "See: propensity labels build"
        )

    chosen = np.argsort(-counts, kind="stable")
    chosen = chosen[counts[chosen] >= min_feature_rows]
    if not aligned_columns:
        chosen = chosen[category_of[chosen] < 0]
    feature_column = np.full(n_features, -1, np.int32)
    feature_column[chosen] = np.arange(len(chosen), dtype=np.int32)

    feature_position, feature_signal, aligned_signals = _aligned(dictionary, counts, category_index)
    signal_mean, signal_std = _moments(sums, feature_signal, len(aligned_signals), among=sums.n_pairs)
    feature_customer, customer_signals = _customer(dictionary, counts)
    customer_mean, customer_std = _moments(sums, feature_customer, len(customer_signals), among=sums.n_rows)
    return Encoder(
        feature_column=feature_column,
        column_scale=_column_scale(sums, chosen),
        feature_position=feature_position,
        feature_signal=feature_signal,
        feature_customer=feature_customer,
        aligned_signals=aligned_signals,
        signal_mean=signal_mean,
        signal_std=signal_std,
        cross_signals=_cross_positions(aligned_signals, cross_signals),
        customer_signals=customer_signals,
        customer_mean=customer_mean,
        customer_std=customer_std,
        category_index=category_index,
        categories=tuple(str(categories[index]) for index in category_index),
    )


def _column_scale(sums: ExampleSums, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return what to divide the chosen features by.

    A column's root mean square over its non-zeros becomes proportional to the share of rows that have it, and
    the mean squared length of a row is ROW_LENGTH. Adam moves every weight by equal steps; undamped,
    thousands of rare columns, which tell customers apart, are what the net learns by heart.
    """
    counts, squares = sums.counts[chosen], sums.squares[chosen]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts / sums.n_rows
        size = share * np.sqrt(ROW_LENGTH / max(float(np.sum(share**3)), 1e-30))
        scale = np.sqrt(squares / counts) / size
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1.0).astype(np.float32)


def _aligned(
    dictionary: FeatureDictionary, counts: npt.NDArray[np.int64], category_index: Int32Array
) -> tuple[Int32Array, Int32Array, tuple[str, ...]]:
    """Return each feature's category position and aligned signal, -1 where none, and the signals' names."""
    n_features = len(counts)
    position, number = np.full(n_features, -1, np.int32), np.full(n_features, -1, np.int32)
    used = np.flatnonzero((dictionary.category_index[:n_features] >= 0) & (counts > 0))
    position[used] = np.searchsorted(category_index, dictionary.category_index[used])
    named = list(zip(dictionary.family[used], dictionary.signal[used], strict=True))
    signals = sorted(set(named))
    number_of = {signal: i for i, signal in enumerate(signals)}
    number[used] = [number_of[signal] for signal in named]
    families = Counter(signal for _, signal in signals)
    names = tuple(f"{family}.{signal}" if families[signal] > 1 else str(signal) for family, signal in signals)
    return position, number, names


def _customer(dictionary: FeatureDictionary, counts: npt.NDArray[np.int64]) -> tuple[Int32Array, tuple[str, ...]]:
    """Return each feature's position among the signals of the customer as a whole, -1 where none, and their names.

    Their key is empty: there is nothing of the customer's that they are about.
    """
    n_features = len(counts)
    position = np.full(n_features, -1, np.int32)
    used = np.flatnonzero((dictionary.key[:n_features] == "") & (counts > 0))
    position[used] = np.arange(len(used), dtype=np.int32)
    return position, tuple(str(signal) for signal in dictionary.signal[used])


def _cross_positions(aligned_signals: tuple[str, ...], wanted: Sequence[str]) -> tuple[int, ...]:
    # A signal that nobody has is no error where nobody has any: a net without seen pairs has no cross part either.
    unknown = [name for name in wanted if name not in aligned_signals]
    if unknown and aligned_signals:
        raise TrainingError(
            f"training.cross_signals names {unknown[0]!r}, which is no category-aligned signal of the training rows."
            f"{did_you_mean(unknown[0], aligned_signals)} Known ones: {', '.join(aligned_signals)}."
        )
    return tuple(aligned_signals.index(name) for name in wanted if name in aligned_signals)


def _moments(
    sums: ExampleSums, signal_of: Int32Array, n_signals: int, *, among: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each signal's mean and standard deviation; `signal_of` is each feature's signal, -1 where none."""
    by_signal = [sums.moments(np.flatnonzero(signal_of == signal), among) for signal in range(n_signals)]
    mean, std = zip(*by_signal, strict=True) if by_signal else ((), ())
    return np.array(mean, np.float32), np.array(std, np.float32)
