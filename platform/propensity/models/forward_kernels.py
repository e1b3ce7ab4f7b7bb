"""Compiled loops of the forward pass, between the products: each goes once over a block that is in a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from propensity.compiled import compiled, compiled_in_any_order
from propensity.models.exponential import exponential

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int32]
    Longs = npt.NDArray[np.int64]


@compiled
def rectify(flow: Floats, bias: Floats) -> None:
    """Add a bias, (width,), to a layer, (n, width), and take the rectifier, in place."""
    for row in range(flow.shape[0]):
        for j in range(flow.shape[1]):
            flow[row, j] = max(flow[row, j] + bias[j], np.float32(0.0))


@compiled
def rectify_pairs(
    flow: Floats, of_category: Floats, position: Ints, of_row: Floats, pair_row: Ints, first_row: int,
    of_prior: Floats, prior: Floats, as_of: Ints, low: int, high: int,
) -> None:  # fmt: skip
    """Add what category, row and popularity say to pairs `low` to `high`, and take the rectifier, in place.

    Args:
        flow: The signals' product, (high - low or more, h1).
        of_category: (N, h1).
        position: The pairs' categories.
        of_row: Of the block's rows, (n, h1).
        pair_row: The pairs' rows.
        first_row: The block's first.
        of_prior: (h1,).
        prior: Log-odds of popularity, (n_as_of, N).
        as_of: Rows' positions in it.
        low: First pair.
        high: Pair after the last.
    """
    for pair in range(low, high):
        p, n, row = pair - low, position[pair], pair_row[pair]
        r, recent = row - first_row, prior[as_of[row], n]
        for j in range(flow.shape[1]):
            value = flow[p, j] + of_category[n, j] + of_row[r, j] + recent * of_prior[j]
            flow[p, j] = max(value, np.float32(0.0))


@compiled_in_any_order
def add_own(
    flow: Floats, weight: Floats, linear: Floats, position: Ints, signals: Floats, own: Floats, low: int, high: int,
    first: int,
) -> None:  # fmt: skip
    """Write what the own history of pairs `low` to `high` adds to their margins.

    Args:
        flow: The last layer, (high - low or more, h).
        weight: Of the output, (K - 1, h).
        linear: Each category's weights of the signals and bias, with the output's, (N, K - 1, S + 1).
        position: The pairs' categories.
        signals: (n_pairs, S).
        own: (n, K - 1); written from row `low - first` on.
        low: First pair.
        high: Pair after the last.
        first: The block's first pair.
    """
    for pair in range(low, high):
        p, n = pair - low, position[pair]
        for k in range(weight.shape[0]):
            of_layer, of_signals = np.float32(0.0), linear[n, k, signals.shape[1]]
            for j in range(weight.shape[1]):
                of_layer += flow[p, j] * weight[k, j]
            for s in range(signals.shape[1]):
                of_signals += linear[n, k, s] * signals[pair, s]
            own[pair - first, k] = of_layer + of_signals


@compiled
def keep_pairs(margins: Floats, indptr: Longs, position: Ints, own: Floats, low: int, high: int) -> None:
    """Add the margins of the seen pairs of rows `low` to `high`, a block's, (n, K - 1, N), to `own`."""
    first = indptr[low]
    for row in range(low, high):
        for pair in range(indptr[row], indptr[row + 1]):
            for k in range(margins.shape[1]):
                own[pair - first, k] += margins[row - low, k, position[pair]]


@compiled
def put_pairs(margins: Floats, indptr: Longs, position: Ints, own: Floats, low: int, high: int) -> None:
    """Write `own` into the margins; arguments as for `keep_pairs`."""
    first = indptr[low]
    for row in range(low, high):
        for pair in range(indptr[row], indptr[row + 1]):
            for k in range(margins.shape[1]):
                margins[row - low, k, position[pair]] = own[pair - first, k]


@compiled
def add_margins(
    margins: Floats, base: Floats, as_of: Ints, share: np.float32, before: int, out: Floats, low: int, high: int
) -> None:
    """Add share * (margins + base) of rows `low` to `high` to `out`.

    Args:
        margins: (n_rows or more, K - 1, N); not read where `before` is 0.
        base: What margins begin with, (n_as_of, K - 1, N).
        as_of: Rows' positions in it.
        share: Of a net in the mean.
        before: Nets that `out` has already. With none `out` holds this one's margins, as its last product wrote them.
        out: (n_rows, K - 1, N).
        low: First row.
        high: Row after the last.
    """
    for row in range(low, high):
        a = as_of[row]
        for k in range(out.shape[1]):
            if before > 0:
                for n in range(out.shape[2]):
                    out[row, k, n] += share * (margins[row, k, n] + base[a, k, n])
            else:
                for n in range(out.shape[2]):
                    out[row, k, n] = share * (out[row, k, n] + base[a, k, n])


@compiled
def calibrate(
    margins: Floats, slope: Floats, shift: Floats, limit: np.float32, indptr: Longs, position: Ints, low: int, high: int
) -> None:
    """Turn margins of rows `low` to `high` into slope * margin + shift within ± limit, in place.

    Args:
        margins: (n_rows, K - 1, N).
        slope: Of unseen and of seen pairs, (2, K - 1).
        shift: Likewise, (2, K - 1, N).
        limit: See above.
        indptr: Row i's seen pairs are `indptr[i]:indptr[i + 1]`.
        position: Their categories.
        low: First row.
        high: Row after the last.
    """
    longest = 0
    for row in range(low, high):
        longest = max(longest, indptr[row + 1] - indptr[row])
    seen = np.empty(longest, margins.dtype)
    for row in range(low, high):
        first, stop = indptr[row], indptr[row + 1]
        for k in range(margins.shape[1]):
            for pair in range(first, stop):
                n = position[pair]
                value = margins[row, k, n] * slope[1, k] + shift[1, k, n]
                seen[pair - first] = min(max(value, -limit), limit)
            by = slope[0, k]
            for n in range(margins.shape[2]):
                value = margins[row, k, n] * by + shift[0, k, n]
                margins[row, k, n] = min(max(value, -limit), limit)
            for pair in range(first, stop):
                margins[row, k, position[pair]] = seen[pair - first]


@compiled
def _reach_classes(margins: Floats, low: int, high: int) -> None:
    """Do what `reach` does, for more classes than two."""
    one, top, n_categories = np.float32(1.0), margins.shape[1] - 1, margins.shape[2]
    highest, total = np.empty(n_categories, margins.dtype), np.empty(n_categories, margins.dtype)
    for row in range(low, high):
        highest[:] = np.float32(0.0)
        for k in range(top + 1):
            for n in range(n_categories):
                highest[n] = max(highest[n], margins[row, k, n])
        for n in range(n_categories):
            margins[row, top, n] = exponential(margins[row, top, n] - highest[n])
            total[n] = exponential(-highest[n]) + margins[row, top, n]
        # A class and the higher ones together, from the top down: they stay in order, whatever is rounded.
        for k in range(top - 1, -1, -1):
            for n in range(n_categories):
                own = exponential(margins[row, k, n] - highest[n])
                total[n] += own
                margins[row, k, n] = margins[row, k + 1, n] + own
        for k in range(top + 1):
            for n in range(n_categories):
                margins[row, k, n] = min(margins[row, k, n] / total[n], one)


@compiled
def reach(margins: Floats, low: int, high: int) -> None:
    """Turn calibrated margins of rows `low` to `high`, (n_rows, K - 1, N), into `calibration.at_least`, in place."""
    one = np.float32(1.0)
    if margins.shape[1] > 1:
        _reach_classes(margins, low, high)
        return
    for row in range(low, high):
        for n in range(margins.shape[2]):
            margins[row, 0, n] = one / (one + exponential(-margins[row, 0, n]))


@compiled
def add_and_reach(
    margins: Floats, base: Floats, as_of: Ints, share: np.float32, before: int, out: Floats,
    slope: Floats, shift: Floats, limit: np.float32, indptr: Longs, position: Ints,
) -> None:  # fmt: skip
    """Do `add_margins`, `calibrate` and `reach`, arguments as for these, row after row: each is in the first cache."""
    for row in range(out.shape[0]):
        add_margins(margins, base, as_of, share, before, out, row, row + 1)
        calibrate(out, slope, shift, limit, indptr, position, row, row + 1)
        reach(out, row, row + 1)
