"""Intervals over blocks against those of the whole window in memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.errors import InputError
from propensity.evaluation import StreamingDifferences, differences
from propensity.evaluation.streaming_bootstrap import LINEAR_FIGURES

from .test_bootstrap import two_models


def streamed(arrays, size: int, **options):
    streaming = StreamingDifferences(**options)
    for first in range(0, arrays[0].shape[0], size):
        streaming.update(*(None if array is None else array[first : first + size] for array in arrays))
    return streaming.result()


@pytest.mark.parametrize("masked", [False, True])
def test_intervals_are_those_of_drawing_households(masked) -> None:
    labels, first, second, repeat = two_models(2000)
    mask = repeat if masked else None
    intervals = streamed((labels, first, second, mask), 600)
    assert tuple(intervals) == LINEAR_FIGURES
    for name, expected in differences(labels, first, second, mask, figures=LINEAR_FIGURES).items():
        interval, width = intervals[name], expected.high - expected.low
        assert interval.mean == pytest.approx(expected.mean, abs=1e-12), name
        assert width > 0
        # A quantile of 1,000 draws is itself uncertain by some 4 % of the interval's width.
        assert interval.low == pytest.approx(expected.low, abs=0.15 * width), name
        assert interval.high == pytest.approx(expected.high, abs=0.15 * width), name


def test_the_size_of_blocks_does_not_matter(monkeypatch) -> None:
    arrays = two_models(300)
    one = streamed(arrays, 300, resamples=40)
    monkeypatch.setattr("propensity.evaluation.streaming_bootstrap.WEIGHTS_AT_ONCE", 40 * 7)
    for name, interval in streamed(arrays, 90, resamples=40).items():
        assert vars(interval) == pytest.approx(vars(one[name])), name
    assert streamed(arrays, 300, resamples=40, seed=8) != one


def test_sparse_blocks_are_dense_ones() -> None:
    labels, first, second, repeat = two_models(50)
    sparse = (csr_matrix(labels), first, second, csr_matrix(repeat))
    assert streamed(sparse, 20, resamples=10) == streamed((labels, first, second, repeat), 20, resamples=10)


def test_a_model_does_not_differ_from_itself() -> None:
    labels, first, _, _ = two_models()
    for interval in streamed((labels, first, first), 30, resamples=20).values():
        assert interval.to_dict() == {"mean": 0, "low": 0, "high": 0}


def test_nothing_seen_is_not_a_number() -> None:
    assert all(math.isnan(value) for value in vars(StreamingDifferences().result()["log_loss"]).values())


def test_wrong_input_is_refused() -> None:
    labels, first, second, _ = two_models()
    with pytest.raises(InputError, match="no figure 'micro_auc'"):
        StreamingDifferences(figures=("micro_auc",))
    with pytest.raises(InputError, match="0 < level < 1"):
        StreamingDifferences(level=2)
    with pytest.raises(InputError, match="share one shape"):
        StreamingDifferences().update(labels, first[:3], second)
    with pytest.raises(InputError, match="NaN"):
        StreamingDifferences().update(labels, first * np.nan, second)
