"""The highest scores of each row: sorting or partitioning takes longer than scoring itself.

Which scores are among the highest can't be foreseen, so a branch on it is guessed wrong, which costs more than the
comparison. Long rows therefore go through loops without one, which the compiler turns into the processor's vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.compiled import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int32]

LANES: Final = np.uint64(64)
"""A long row is dealt out to as many lanes. Unsigned: a sum of unsigned numbers is no index from the end, and only
without that case does the compiler use vectors."""
ONE: Final = np.uint64(1)
MOST_IN_LANES: Final = 24
"""For more of the highest than this many, too many lanes would have one."""
FEWEST_SCORES: Final = 256
"""In a row that is worth dealing out."""
MOST_RANKED: Final = 128
"""Scores that are compared each with each, not fewer than LANES; where more are equal, they are inserted one by one."""


def write_highest(scores: Floats, positions: Ints, values: Floats) -> None:
    """Write the k highest scores of each row and where they are, highest first, equals by rising position.

    Args:
        scores: float32, finite, (n, N).
        positions: int32, (n, k), k from 1 to N; overwritten.
        values: float32, (n, k); overwritten.
    """
    if positions.shape[1] <= MOST_IN_LANES and scores.shape[1] >= FEWEST_SCORES:
        _write_by_lanes(scores, positions, values)
    else:
        _write_by_insertion(scores, positions, values)


@compiled
def _insert(score: np.float32, at: int, row: int, held: int, positions: Ints, values: Floats) -> int:
    """Put a score behind those of the row's first `held` that are at least as high; return how many there are then."""
    k: int = positions.shape[1]
    if held == k and score <= values[row, k - 1]:
        return held
    place = min(held, k - 1)
    while place > 0 and score > values[row, place - 1]:
        values[row, place], positions[row, place] = values[row, place - 1], positions[row, place - 1]
        place -= 1
    values[row, place], positions[row, place] = score, at
    return min(held + 1, k)


@compiled
def _insert_row(scores: Floats, row: int, positions: Ints, values: Floats) -> None:
    held = 0
    for n in range(scores.shape[1]):
        held = _insert(scores[row, n], n, row, held, positions, values)


@compiled
def _write_by_insertion(scores: Floats, positions: Ints, values: Floats) -> None:
    for row in range(scores.shape[0]):
        _insert_row(scores, row, positions, values)


@compiled
def _write_by_lanes(scores: Floats, positions: Ints, values: Floats) -> None:
    """Do it by the highest score of each lane.

    k lanes have a score that is at least the k-th highest of these, `least`, so the k highest of all are among the
    scores that are at least `least`: few more than k, all in lanes whose highest is.
    """
    k, width = positions.shape[1], np.uint64(scores.shape[1])
    lane, ahead = np.empty(LANES, scores.dtype), np.empty(MOST_RANKED, np.int32)
    # One too many: what doesn't count is written and then written over.
    chosen = np.empty(LANES + ONE, np.uint64)
    score, at = np.empty(width + ONE, scores.dtype), np.empty(width + ONE, np.int32)
    for row in range(scores.shape[0]):
        _write_highest_of_lanes(scores, row, lane)
        n_chosen, least = _choose_lanes(lane, k, ahead, chosen)
        n_found = np.uint64(0)
        for i in range(n_chosen):
            for n in range(chosen[i], width, LANES):
                own = scores[row, n]
                score[n_found], at[n_found] = own, n
                n_found += np.uint64(own >= least)
        if n_found <= MOST_RANKED:
            _write_by_rank(score, at, n_found, ahead, row, positions, values)
        else:
            _insert_row(scores, row, positions, values)


@compiled
def _write_highest_of_lanes(scores: Floats, row: int, lane: Floats) -> None:
    width = np.uint64(scores.shape[1])
    whole = width // LANES * LANES
    for j in range(LANES):
        lane[j] = scores[row, j]
    for start in range(LANES, whole, LANES):
        for j in range(LANES):
            own = scores[row, start + j]
            lane[j] = own if own > lane[j] else lane[j]
    for n in range(whole, width):
        own = scores[row, n]
        lane[n - whole] = own if own > lane[n - whole] else lane[n - whole]


@compiled
def _choose_lanes(lane: Floats, k: int, ahead: Ints, chosen: npt.NDArray[np.uint64]) -> tuple[np.uint64, np.float32]:
    """Write the lanes that fewer than k are ahead of; return how many, and the least of their scores."""
    ahead[:LANES] = 0
    for i in range(LANES):
        own = lane[i]
        for j in range(LANES):
            ahead[j] += np.int32(own > lane[j])
    least, n_chosen = np.float32(np.inf), np.uint64(0)
    for j in range(LANES):
        is_high = ahead[j] < k
        own = lane[j] if is_high else np.float32(np.inf)
        least = own if own < least else least
        chosen[n_chosen] = j
        n_chosen += np.uint64(is_high)
    return n_chosen, least


@compiled
def _write_by_rank(
    score: Floats, at: Ints, n_found: np.uint64, ahead: Ints, row: int, positions: Ints, values: Floats
) -> None:
    """Write each of the scores found to where its rank says: how many are ahead of it."""
    ahead[:n_found] = 0
    for i in range(n_found):
        own, own_at = score[i], at[i]
        for j in range(n_found):
            ahead[j] += np.int32(own > score[j]) + np.int32((own == score[j]) & (own_at < at[j]))
    for i in range(n_found):
        if ahead[i] < positions.shape[1]:
            positions[row, ahead[i]], values[row, ahead[i]] = at[i], score[i]
