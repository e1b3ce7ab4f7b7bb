"""Time and memory of a training epoch against its rows, which lie on disk: 80 non-zeros, 2,000 categories.

Made-up rows are written as `propensity train` writes Feast's. For each number of rows a process of its own fits the
encoder on them, encodes them and makes an epoch, as a training does; its peak resident memory counts all of Python,
MXNet, the net and Adam's state. The shares are of the epoch: the time for which the training thread waits for batches
and hands them to MXNet, and the processor time that the other thread takes to gather them. The lines go through the
seconds of all three, by the clock and, which other work on the machine disturbs less, on the processors.

Run by `make bench`, or: python tests/benchmarks/bench_training_scale.py --rows 500000 1000000 2000000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from propensity.features.dictionary import FeatureDictionary
from propensity.settings import Settings, TrainingSettings
from propensity.training.stored_examples import CHUNK_ROWS, ExampleFile, StoredExamples

N_CATEGORIES, N_FEATURES, N_AS_OF = 2_000, 200_000, 4
SIGNALS = ("purchases_decay_60d", "purchases_365d")
SEEN, OTHERS = 25, 49
"""Draws per row of categories, each with all signals, and of other features; some meet."""
TRAINING = TrainingSettings(epochs=1, nets=1, batch_size=1024, hidden=(256, 128), learning_rate=1e-3)


def dictionary() -> FeatureDictionary:
    """Signals of each category, features that are in none, and one of the customer as a whole."""
    n_aligned = len(SIGNALS) * N_CATEGORIES
    n_other = N_FEATURES - n_aligned - 1
    category = np.tile(np.arange(N_CATEGORIES, dtype=np.int32), len(SIGNALS))
    return FeatureDictionary(
        family=np.array(["purchases"] * n_aligned + ["products"] * n_other + ["profile"], object),
        signal=np.array([name for name in SIGNALS for _ in range(N_CATEGORIES)] + ["t"] * n_other + ["visits"], object),
        key=np.array([str(i) for i in category] + [f"k{i}" for i in range(n_other)] + [""], object),
        category_index=np.concatenate((category, np.full(n_other + 1, -1, np.int32))),
    )


def rows(rng: np.random.Generator, n_rows: int) -> tuple[csr_matrix, csr_matrix]:
    """Draw features by popularity, and labels mostly from the categories that the row has seen."""
    seen = zipf(rng, (n_rows, SEEN), N_CATEGORIES)
    others = len(SIGNALS) * N_CATEGORIES + zipf(rng, (n_rows, OTHERS), N_FEATURES - len(SIGNALS) * N_CATEGORIES - 1)
    visits = np.full((n_rows, 1), N_FEATURES - 1)
    index = np.hstack([*(seen + number * N_CATEGORIES for number in range(len(SIGNALS))), others, visits])
    features = csr(index, rng.gamma(1.0, 2.0, index.size).astype(np.float32), N_FEATURES)
    labels = csr(np.hstack((seen[:, :3], zipf(rng, (n_rows, 1), N_CATEGORIES))), 1, N_CATEGORIES).astype(np.int8)
    labels.data[:] = 1
    return features, labels


def zipf(rng: np.random.Generator, shape: tuple[int, int], n: int) -> np.ndarray:
    """Draw numbers below n, number i in proportion to 1 / (i + 20)."""
    cumulative = np.cumsum(1.0 / (np.arange(n) + 20.0))
    return np.searchsorted(cumulative, rng.random(shape) * cumulative[-1])


def csr(index: np.ndarray, values: Any, width: int) -> csr_matrix:
    """Make a CSR of rows of as many indices each; those that meet are added."""
    data = np.broadcast_to(np.asarray(values, np.float32), index.size).copy()
    indptr = np.arange(0, index.size + 1, index.shape[1], dtype=np.int32)
    matrix = csr_matrix((data, index.ravel().astype(np.int32), indptr), shape=(len(index), width))
    matrix.sum_duplicates()
    return matrix


def write_rows(directory: Path, n_rows: int) -> None:
    """Write the rows, an equal part of them per as_of."""
    rng = np.random.default_rng(5)
    for number in range(N_AS_OF):
        left = n_rows // N_AS_OF
        with ExampleFile(directory / f"{number}.arrow") as file:
            while left:
                n = min(left, CHUNK_ROWS)
                file.append(np.array([f"customer {i}" for i in range(n)], object), *rows(rng, n))
                left -= n


def timed(items: Iterator[Any], clock: Callable[[], float]) -> Iterator[tuple[Any, float]]:
    """Yield each item and the seconds that it took to come."""
    while True:
        started = clock()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item, clock() - started


def train(directory: Path, n_rows: int, threads: int) -> dict[str, float]:
    """Fit the encoder, encode, make an epoch; return seconds, shares and bytes."""
    from propensity.training import batches, descent, mxnet_runtime  # noqa: PLC0415
    from propensity.training import threads as own_threads  # noqa: PLC0415
    from propensity.training.encoded_files import write_encoded  # noqa: PLC0415
    from propensity.training.encoding import fit_encoder  # noqa: PLC0415
    from propensity.training.fitting import network_shape  # noqa: PLC0415

    class Timed(batches.Batches):
        waited = gathered = 0.0

        def __iter__(self) -> Iterator[Any]:
            for batch, seconds in timed(super().__iter__(), time.perf_counter):
                Timed.waited += seconds
                yield batch

        def _gathered(self, windows: Any) -> Iterator[Any]:
            for batch, seconds in timed(super()._gathered(windows), time.thread_time):
                Timed.gathered += seconds
                yield batch

    mxnet_runtime.set_threads(threads)
    own_threads.set_threads(threads)
    descent.Batches = Timed  # type: ignore[misc]
    per_as_of = np.full(N_AS_OF, n_rows // N_AS_OF)
    examples = StoredExamples(
        files=tuple(directory / f"{number}.arrow" for number in range(N_AS_OF)),
        as_of=np.datetime64("2024-01-01", "us") + np.arange(N_AS_OF) * np.timedelta64(14, "D"),
        popularity=np.random.default_rng(0).random((N_AS_OF, N_CATEGORIES)).astype(np.float32) * 0.01,
        rows_per_as_of=per_as_of,
        n_features=N_FEATURES,
    )
    before = time.process_time()
    moments = [time.perf_counter()]
    names = [str(number) for number in range(N_CATEGORIES)]
    encoder = fit_encoder(
        examples, dictionary(), names, 20, aligned_columns=False, cross_signals=TRAINING.cross_signals
    )
    moments.append(time.perf_counter())
    with tempfile.TemporaryDirectory(dir=directory) as encoded:
        stored = write_encoded(Path(encoded), encoder, examples, TRAINING.shuffle_megabytes << 20)
        moments.append(time.perf_counter())
        cpu = time.process_time()
        net = descent.train_net(
            stored,
            None,
            network_shape(encoder, TRAINING, 2),
            settings=TRAINING,
            epochs=1,
            progress=descent.no_progress,
        )
        moments.append(time.perf_counter())
    fit, encode, epoch = np.diff(moments).tolist()
    return {
        "fit": fit,
        "encode": encode,
        "epoch": epoch,
        "waited": Timed.waited / epoch,
        "gathered": Timed.gathered / (time.process_time() - cpu),
        "cpu": time.process_time() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "on_disk": stored.n_bytes,
        "values": float(stored.ends[-1, 1] + 0) / n_rows,
        "loss": net.history[-1]["train"],
    }


def main() -> None:
    """Print the table and the line through it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 1_000_000, 2_000_000])
    parser.add_argument("--directory", type=Path, help="where to keep rows meanwhile, by default the system's")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(train(options.worker, options.rows[0], Settings().threads)))
        return
    print(f"{N_FEATURES:,} features, {N_CATEGORIES:,} categories, batches of {TRAINING.batch_size:,}, net", end=" ")
    print(f"{TRAINING.hidden}, {TRAINING.shuffle_megabytes:,} MB of encoded rows at a time")
    print("     rows  on disk  encoder s  encode s  epoch s  CPU s  waited  gathering  peak GB  train loss")
    seconds: dict[str, list[float]] = {"clock": [], "CPU": []}
    for n_rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            write_rows(Path(directory), n_rows)
            command = [sys.executable, __file__, "--worker", directory, "--rows", str(n_rows)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds["clock"].append(found["fit"] + found["encode"] + found["epoch"])
        seconds["CPU"].append(found["cpu"])
        print(
            f"{n_rows:9,} {found['on_disk'] / 1e9:5.2f} GB {found['fit']:10.1f} {found['encode']:9.1f} "
            f"{found['epoch']:8.1f} {found['cpu']:6.1f} {found['waited']:7.1%} {found['gathered']:10.1%} "
            f"{found['peak'] / 1e9:8.2f} {found['loss']:11.5f}",
            flush=True,
        )
    for what, taken in seconds.items() if len(options.rows) > 1 else ():
        slope, start = np.polyfit(options.rows, taken, 1)
        off = np.max(np.abs(np.polyval((slope, start), options.rows) / taken - 1))
        print(f"{what} line: {start:.1f} s + {slope * 1e6:.1f} s per million rows, at most {off:.1%} beside it")


if __name__ == "__main__":
    main()
