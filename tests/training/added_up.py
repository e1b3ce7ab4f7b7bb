"""What a net's summands add up to, by numpy in double precision."""

from __future__ import annotations

import numpy as np


def own_history(pairs, n_pairs, n_out):
    """What comes out of an OwnHistory, (n_pairs, n_out)."""
    own = np.full((n_pairs, n_out), np.nan, np.float32)

    def keep(_rows, range_of_pairs, found):
        own[range_of_pairs] = found
        return np.zeros_like(found)

    pairs.there_and_back(keep, 1)
    return own


def margins(summands, batch):
    """Margins, (B, K - 1, N)."""
    n_out = summands.prior_scale.shape[1]
    prior = batch.prior[batch.as_of_position].astype(np.float64)
    total = summands.head.astype(np.float64).reshape(len(batch), n_out, -1)
    total = total + summands.prior_scale.astype(np.float64) * prior[:, None]
    if summands.own is not None:
        crossed = np.zeros_like(total) if summands.crossed is None else summands.crossed.reshape(total.shape).copy()
        crossed[batch.pair_row, :, batch.pair_position] = own_history(summands.own, len(batch.pair_position), n_out)
        total = total + crossed
    return total
