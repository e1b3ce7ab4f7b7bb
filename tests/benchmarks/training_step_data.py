"""Synthetic rows for bench_training_step.py: numpy alone, so that a peer reads them in an environment of its own.

A label can be learned from the features, so that a net whose sparse layer doesn't learn shows by its loss.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

LEARNING_RATES = {"adam": 1e-3, "adagrad": 1e-2, "sgd": 1e-2}
"""Every contender's, by optimizer."""
ROW_LENGTH = 32.0
"""Mean squared length of a row, as the platform's encoder makes it; first weights are drawn for it."""
WARM_UP = 25
"""Steps before the clock starts; every contender reports its mean loss over them."""
POOL = 16
"""Batches that a peer is given ready-made, again and again."""


@dataclass(frozen=True)
class Shape:
    """Sizes of the net and of the data.

    Attributes:
        features: Columns of the sparse input.
        non_zeros: In each row.
        hidden: Two hidden layers.
        outputs: Categories, each of two classes.
        batch: Rows of a step.
        positives: Positive labels of a row at most.
        seen: Categories that a row has category-aligned signals of.
        signals: Category-aligned signals.
        steps: Of which the rows are enough for one pass.
    """

    features: int
    non_zeros: int
    hidden: tuple[int, int]
    outputs: int
    batch: int
    positives: int
    seen: int
    signals: int
    steps: int

    @property
    def rows(self) -> int:
        return self.batch * self.steps


@dataclass(frozen=True)
class Rows:
    """What `write` wrote.

    Attributes:
        shape: Its sizes.
        columns: Distinct, rising, by falling frequency, int32, (rows, non_zeros).
        values: float32, (rows, non_zeros).
        positives: Positive categories, some more than once, int32, (rows, positives).
        pair_category: Seen categories, distinct, rising, int32, (rows, seen).
        pair_signals: float32, (rows, seen, signals).
    """

    shape: Shape
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    positives: npt.NDArray[np.int32]
    pair_category: npt.NDArray[np.int32]
    pair_signals: npt.NDArray[np.float32]

    def dense_labels(self, rows: slice) -> npt.NDArray[np.float32]:
        """Return labels 0 and 1, float32, (rows, outputs)."""
        positives = self.positives[rows]
        labels = np.zeros((len(positives), self.shape.outputs), np.float32)
        np.put_along_axis(labels, positives, 1.0, axis=1)
        return labels

    def batches(self, count: int) -> list[slice]:
        """Return the rows of the first `count` batches."""
        return [
            slice(start, start + self.shape.batch) for start in range(0, count * self.shape.batch, self.shape.batch)
        ]

    def touched(self) -> float:
        """Return the mean number of distinct columns in a batch."""
        return float(
            np.mean([len(np.unique(self.columns[rows])) for rows in self.batches(min(POOL, self.shape.steps))])
        )


def write(directory: Path, shape: Shape, seed: int = 7) -> None:
    """Draw rows and write them as .npy files; a column of rank r occurs in proportion to 1 / r, as far as it fits."""
    rng = np.random.default_rng(seed)
    columns = _zipf_rows(rng, shape.rows, shape.features, shape.non_zeros)
    values = rng.lognormal(-0.125, 0.5, columns.shape).astype(np.float32) * np.sqrt(ROW_LENGTH / shape.non_zeros)
    # A category is what some of the row's columns stand for.
    chosen = rng.integers(0, shape.non_zeros, (shape.rows, shape.positives))
    positives = np.take_along_axis(columns, chosen, axis=1) % shape.outputs
    np.save(directory / "columns.npy", columns)
    np.save(directory / "values.npy", values.astype(np.float32))
    np.save(directory / "positives.npy", positives.astype(np.int32))
    np.save(directory / "pair_category.npy", _zipf_rows(rng, shape.rows, shape.outputs, shape.seen))
    np.save(
        directory / "pair_signals.npy",
        rng.standard_normal((shape.rows, shape.seen, shape.signals), dtype=np.float32),
    )
    (directory / "shape.json").write_text(json.dumps(asdict(shape)))


def read(directory: Path) -> Rows:
    """Read what `write` wrote."""
    fields = json.loads((directory / "shape.json").read_text())
    shape = Shape(**fields | {"hidden": tuple(fields["hidden"])})
    names = ("columns", "values", "positives", "pair_category", "pair_signals")
    return Rows(shape, *(np.load(directory / f"{name}.npy", mmap_mode="c") for name in names))


def first_weights(shape: Shape) -> list[npt.NDArray[np.float32]]:
    """Draw a peer's first weights: input (features, hidden), hidden and output layers (inputs, outputs); no biases."""
    rng = np.random.default_rng(1)
    sizes = [(shape.features, shape.hidden[0]), shape.hidden, (shape.hidden[1], shape.outputs)]
    spreads = [np.sqrt(2 / ROW_LENGTH), np.sqrt(2 / shape.hidden[0]), np.sqrt(0.1 / shape.hidden[1])]
    return [
        rng.standard_normal(size, dtype=np.float32) * np.float32(spread)
        for size, spread in zip(sizes, spreads, strict=True)
    ]


def report(step: Callable[[int], None], loss: Callable[[], float], settle: Callable[[], None], steps: int) -> None:
    """Time a peer's steps and print the result as JSON.

    Args:
        step: Takes the step of a number, from 0.
        loss: Returns the last step's log loss per pair, before its update; asked for in the warm-up only.
        settle: Waits for work that goes on.
        steps: To time.
    """
    losses = []
    for number in range(WARM_UP):
        step(number)
        losses.append(loss())
    settle()
    started = time.perf_counter()
    for number in range(WARM_UP, WARM_UP + steps):
        step(number)
    settle()
    print_result((time.perf_counter() - started) / steps, float(np.mean(losses)))


def print_result(seconds: float, loss: float, **more: float) -> None:
    """Print a contender's result as one line of JSON: seconds a step, mean loss over the warm-up."""
    print(json.dumps({"seconds": seconds, "loss": loss, **more}))


def threads() -> int:
    """Return the threads that the caller asked for by environment."""
    return int(os.environ["OMP_NUM_THREADS"])


def _zipf_rows(rng: np.random.Generator, rows: int, width: int, count: int) -> npt.NDArray[np.int32]:
    """Draw `count` distinct numbers below `width` for each row, one after the other; return them rising."""
    if count == 0:
        return np.empty((rows, 0), np.int32)
    cumulated = np.cumsum(1.0 / np.arange(1, width + 1))
    cumulated /= cumulated[-1]
    return np.concatenate([_distinct(rng, cumulated, min(4096, rows - start), count) for start in range(0, rows, 4096)])


def _distinct(
    rng: np.random.Generator, cumulated: npt.NDArray[np.float64], rows: int, count: int
) -> npt.NDArray[np.int32]:
    drawn = np.empty((rows, 0), np.int32)
    while True:
        more = np.searchsorted(cumulated, rng.random((rows, 3 * count)), side="right").astype(np.int32)
        drawn = np.concatenate((drawn, more), axis=1)
        order = np.argsort(drawn, axis=1, kind="stable")
        ordered = np.take_along_axis(drawn, order, axis=1)
        again = np.zeros(drawn.shape, bool)
        np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
        first = np.cumsum(~again, axis=1)
        if first[:, -1].min() >= count:
            return np.sort(drawn[~again & (first <= count)].reshape(rows, count), axis=1)
