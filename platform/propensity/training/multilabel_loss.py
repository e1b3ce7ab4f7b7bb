"""Multi-label log loss of a batch and its gradients, from the summands of the margins: one pass, row after row.

MXNet adds up, squashes and sums margins operator by operator, each of which reads and writes a value for every row and
category; its sigmoid and its sums don't use the processor's vectors or cores. That takes more of a step than all matrix
products (docs/training.md). Here a row's margins stay in the first cache until their gradient is written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from propensity.compiled import compiled
from propensity.models.exponential import exponential
from propensity.training.threads import share

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from propensity.training.batches import Batch

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int32]

LANES: Final = 64
"""Neighbours that are summed apart, so that sums go through the processor's vectors."""
LARGEST_LOG2: Final = 120.0
"""Binary logarithm of the largest product that is sure to fit into float32."""

PRODUCTS: Final = 8
"""Multiplications that take as long as a margin does, about."""


class OwnHistory(Protocol):
    """What a seen pair's own history says, worked out block after block: `pair_layers.PairLayers`."""

    def there_and_back(self, loss: Callable[[slice, slice, Floats], Floats], products: int) -> Any:
        """Hand it to `loss`, block after block, and return the gradients of what it came from."""


@dataclass(frozen=True)
class Summands:
    """Summands of the margins of B rows.

    margins[b, k, n] = head[b, k, n] + prior_scale[k] * prior[b, n], and on seen pairs `own`, on the others `crossed`.

    Attributes:
        head: float32, (B, (K - 1) * N).
        prior_scale: float32, (1, K - 1, 1).
        own: What a seen pair's own history says; None where no pair is seen.
        crossed: What the history in other categories says, float32, (B, (K - 1) * N); None without a cross part.
    """

    head: Floats
    prior_scale: Floats
    own: OwnHistory | None
    crossed: Floats | None


@dataclass(frozen=True)
class Gradients:
    """The loss's gradients by the summands of the margins.

    Attributes:
        head: As in Summands.
        prior_scale: As in Summands.
        own: What `OwnHistory.there_and_back` returned; None without one.
        crossed: As in Summands.
    """

    head: Floats
    prior_scale: Floats
    own: Any
    crossed: Floats | None


def loss_and_gradients(summands: Summands, batch: Batch) -> tuple[float, Gradients]:
    """Return the pairs' mean log loss, and gradients of their sum over categories and mean over rows.

    The loss of a pair is log(1 + sum_j e^margin_j) - margin_label, its gradient p_k - 1[k = label]. It is summed over
    categories, so that the size of a gradient doesn't shrink with their number. The number of threads doesn't change
    a bit.

    Args:
        summands: Of the margins; `crossed` is overwritten by its gradient.
        batch: With labels.
    """
    n_out = summands.prior_scale.size
    n_rows, n_categories, n_pairs = len(batch), batch.prior.shape[1], len(batch.pair_position)
    own = None if summands.own is None else np.empty((n_pairs, n_out), np.float32)
    arrays = _arrays(summands, batch, own)
    labels = batch.labels
    assert labels is not None  # a batch to learn from
    gradient = np.empty_like(arrays[0])
    own_gradient = np.empty_like(arrays[3])
    scale_gradient = np.empty((n_rows, n_out), np.float32)
    losses = np.empty(n_rows)

    def work(low: int, high: int) -> None:
        _write_rows(
            *arrays, labels.indptr, labels.indices, labels.data, np.float32(1.0 / n_rows),
            gradient, own_gradient, scale_gradient, losses, low, high,
        )  # fmt: skip

    def block(rows: slice, pairs: slice, found: Floats) -> Floats:
        arrays[3][pairs] = found
        work(rows.start, rows.stop)
        of_pairs: Floats = own_gradient[pairs]
        return of_pairs

    products, by_pairs = PRODUCTS * n_out * n_categories, None
    if summands.own is None:
        share(work, np.arange(n_rows + 1), products)
    else:
        by_pairs = summands.own.there_and_back(block, products)
    of_scale = scale_gradient.sum(axis=0, dtype=np.float64).astype(np.float32).reshape(1, n_out, 1)
    gradients = Gradients(gradient.reshape(n_rows, -1), of_scale, by_pairs, summands.crossed)
    return float(losses.sum()) / (n_rows * n_categories), gradients


def _arrays(summands: Summands, batch: Batch, own: Floats | None) -> tuple[Any, ...]:
    """Return the arguments of `_add_up` from `head` to `position`; `own` is (P, K - 1)."""
    scale = summands.prior_scale.reshape(-1)
    head = summands.head.reshape(len(batch), len(scale), -1)
    crossed = np.empty((0, *head.shape[1:]), np.float32)
    if own is None:
        own = np.empty((0, len(scale)), np.float32)
    if summands.crossed is not None:
        crossed = summands.crossed.reshape(head.shape)
    return head, scale, crossed, own, batch.prior, batch.as_of_position, batch.pair_indptr, batch.pair_position


@compiled
def _add_up(
    row: int, head: Floats, scale: Floats, crossed: Floats, own: Floats, prior: Floats, as_of: Ints,
    indptr: npt.NDArray[np.int64], position: Ints, out: Floats,
) -> None:  # fmt: skip
    """Write a row's margins into `out`, (K - 1, N)."""
    recent = prior[as_of[row]]
    for k in range(out.shape[0]):
        total, deep, by_prior = out[k], head[row, k], scale[k]  # read once: the compiler can't know that it stays
        for n in range(total.shape[0]):
            total[n] = deep[n] + by_prior * recent[n]
        if crossed.shape[0] > 0:
            others = crossed[row, k]
            for n in range(total.shape[0]):
                total[n] += others[n]
        for pair in range(indptr[row], indptr[row + 1] if own.shape[0] > 0 else indptr[row]):
            n = position[pair]
            total[n] = deep[n] + by_prior * recent[n] + own[pair, k]


@compiled
def _write_rows(
    head: Floats, scale: Floats, crossed: Floats, own: Floats, prior: Floats, as_of: Ints,
    indptr: npt.NDArray[np.int64], position: Ints,
    label_indptr: Ints, label_position: Ints, label: npt.NDArray[np.int8], share_of_row: np.float32,
    gradient: Floats, own_gradient: Floats, scale_gradient: Floats, losses: npt.NDArray[np.float64],
    low: int, high: int,
) -> None:  # fmt: skip
    """Write the loss and the gradients of rows `low` to `high`."""
    n_categories = head.shape[2]
    highest, total = np.empty(n_categories, np.float32), np.empty(n_categories, np.float32)
    for row in range(low, high):
        out = gradient[row]
        _add_up(row, head, scale, crossed, own, prior, as_of, indptr, position, out)
        labels = slice(label_indptr[row], label_indptr[row + 1])
        loss = -_sum_at_labels(out, label_position[labels], label[labels])
        _exponentials(out, highest, total)
        losses[row] = loss + _sum(highest) + _sum_of_logs(total, out.shape[0] + 1)
        _scale(out, total, share_of_row)
        _take_from_labels(out, label_position[labels], label[labels], share_of_row)
        recent = prior[as_of[row]]
        for k in range(out.shape[0]):
            scale_gradient[row, k] = _dot(out[k], recent)
        if crossed.shape[0] > 0:
            crossed[row] = out
        if own.shape[0] > 0:
            pairs = slice(indptr[row], indptr[row + 1])
            _at_pairs(out, position[pairs], own_gradient[pairs])
            if crossed.shape[0] > 0:
                crossed_row = crossed[row]
                for n in position[pairs]:
                    crossed_row[:, n] = np.float32(0.0)


@compiled
def _sum_at_labels(row: Floats, position: Ints, label: npt.NDArray[np.int8]) -> float:
    found = 0.0
    for entry in range(len(label)):
        if label[entry] > 0:
            found += row[label[entry] - 1, position[entry]]
    return found


@compiled
def _take_from_labels(row: Floats, position: Ints, label: npt.NDArray[np.int8], amount: np.float32) -> None:
    for entry in range(len(label)):
        if label[entry] > 0:
            row[label[entry] - 1, position[entry]] -= amount


@compiled
def _at_pairs(row: Floats, position: Ints, out: Floats) -> None:
    """Copy what `row`, (K - 1, N), has at its pairs to `out`, (n_pairs, K - 1)."""
    for pair in range(len(position)):
        for k in range(row.shape[0]):
            out[pair, k] = row[k, position[pair]]


@compiled
def _scale(out: Floats, total: Floats, share_of_row: np.float32) -> None:
    """Multiply `out`, (K - 1, N), by share_of_row / total."""
    for n in range(total.shape[0]):
        total[n] = share_of_row / total[n]
    for k in range(out.shape[0]):
        of_k = out[k]
        for n in range(total.shape[0]):
            of_k[n] *= total[n]


@compiled
def _exponentials(margin: Floats, highest: Floats, total: Floats) -> None:
    """Turn margins m_k into e^(m_k - h) where h = max(0, m_1, ..), `highest`; `total` is their sum and e^-h."""
    highest[:] = np.float32(0.0)
    for k in range(margin.shape[0]):
        of_k = margin[k]
        for n in range(highest.shape[0]):
            highest[n] = max(highest[n], of_k[n])
    for n in range(highest.shape[0]):
        total[n] = exponential(-highest[n])
    for k in range(margin.shape[0]):
        of_k = margin[k]
        for n in range(highest.shape[0]):
            of_k[n] = exponential(of_k[n] - highest[n])
            total[n] += of_k[n]


@compiled
def _sum(values: Floats) -> float:
    lanes, found = np.zeros(LANES, np.float32), 0.0
    whole = values.shape[0] - values.shape[0] % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += values[start + lane]
    for lane in range(LANES):
        found += lanes[lane]
    for n in range(whole, values.shape[0]):
        found += values[n]
    return found


@compiled
def _dot(left: Floats, right: Floats) -> float:
    lanes, found = np.zeros(LANES, np.float32), 0.0
    whole = left.shape[0] - left.shape[0] % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += left[start + lane] * right[start + lane]
    for lane in range(LANES):
        found += lanes[lane]
    for n in range(whole, left.shape[0]):
        found += left[n] * right[n]
    return found


@compiled
def _sum_of_logs(values: Floats, n_classes: int) -> float:
    """Sum the logarithms of values from 1 to K, a logarithm for each product of as many as fit."""
    lanes, found = np.ones(LANES, np.float32), 0.0
    whole = values.shape[0] - values.shape[0] % LANES
    factors = LANES * max(int(LARGEST_LOG2 / math.log2(n_classes)), 1)
    for first in range(0, whole, factors):
        lanes[:] = np.float32(1.0)
        for start in range(first, min(first + factors, whole), LANES):
            for lane in range(LANES):
                lanes[lane] *= values[start + lane]
        for lane in range(LANES):
            found += math.log(lanes[lane])
    for n in range(whole, values.shape[0]):
        found += math.log(values[n])
    return found
