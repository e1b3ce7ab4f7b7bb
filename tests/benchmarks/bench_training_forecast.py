"""What a training takes, beside what its forecast said before it started: memory and time, for shapes far apart.

Made-up rows are written as `propensity train` writes Feast's. One process forecasts a training on them, another does
it: encoders, nets with a checkpoint after every epoch, calibration, refit. Its memory is its highest resident set, with
all of Python and MXNet. Time is on the processors, which other work on the machine disturbs less, and by the clock.
Early stopping is off, and time is forecast for the epochs that validation chose.

Run by `make bench`, or: python tests/benchmarks/bench_training_forecast.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_training_scale import SIGNALS, csr, zipf
from scipy.sparse import csr_matrix

from propensity.features.dictionary import FeatureDictionary
from propensity.settings import Settings, TrainingSettings
from propensity.training.stored_examples import CHUNK_ROWS, ExampleFile, StoredExamples

N_AS_OF = 4


@dataclass(frozen=True)
class Case:
    """Rows and a net.

    Attributes:
        rows: Of all as_ofs.
        categories: N.
        features: Of the dictionary.
        seen: Draws of categories per row, each with all signals; some meet.
        others: Draws of other features.
        batch_size: As in the settings, likewise the next.
        hidden: Widths.
        epochs: Of each net.
    """

    rows: int
    categories: int
    features: int
    seen: int
    others: int
    batch_size: int
    hidden: tuple[int, ...]
    epochs: int

    @property
    def settings(self) -> Settings:
        """Settings of the training."""
        training = TrainingSettings(
            batch_size=self.batch_size, hidden=tuple(self.hidden), epochs=self.epochs, patience=self.epochs
        )
        return Settings(training=training)

    @property
    def names(self) -> list[str]:
        """Names of the categories."""
        return [str(number) for number in range(self.categories)]

    def dictionary(self) -> FeatureDictionary:
        """Signals of each category, features that are in none, and one of the customer as a whole."""
        n_aligned = len(SIGNALS) * self.categories
        n_other = self.features - n_aligned - 1
        category = np.tile(np.arange(self.categories, dtype=np.int32), len(SIGNALS))
        return FeatureDictionary(
            family=np.array(["purchases"] * n_aligned + ["products"] * n_other + ["profile"], object),
            signal=np.array([name for name in SIGNALS for _ in self.names] + ["t"] * n_other + ["visits"], object),
            key=np.array([str(i) for i in category] + [f"k{i}" for i in range(n_other)] + [""], object),
            category_index=np.concatenate((category, np.full(n_other + 1, -1, np.int32))),
        )

    def draw(self, rng: np.random.Generator, n_rows: int) -> tuple[csr_matrix, csr_matrix]:
        """Draw features by popularity, and labels mostly from the categories that the row has seen."""
        n_aligned = len(SIGNALS) * self.categories
        seen = zipf(rng, (n_rows, self.seen), self.categories)
        others = n_aligned + zipf(rng, (n_rows, self.others), self.features - n_aligned - 1)
        visits = np.full((n_rows, 1), self.features - 1)
        index = np.hstack([*(seen + number * self.categories for number in range(len(SIGNALS))), others, visits])
        features = csr(index, rng.gamma(1.0, 2.0, index.size).astype(np.float32), self.features)
        labelled = np.hstack((seen[:, :3], zipf(rng, (n_rows, 1), self.categories)))
        labels = csr(labelled, 1, self.categories).astype(np.int8)
        labels.data[:] = 1
        return features, labels

    def write(self, directory: Path) -> None:
        """Write the rows, an equal part of them per as_of."""
        rng = np.random.default_rng(5)
        for number in range(N_AS_OF):
            left = self.rows // N_AS_OF
            with ExampleFile(directory / f"{number}.arrow") as file:
                while left:
                    n = min(left, CHUNK_ROWS)
                    file.append(np.array([f"customer {i}" for i in range(n)], object), *self.draw(rng, n))
                    left -= n

    def parts(self, directory: Path) -> tuple[StoredExamples, StoredExamples, StoredExamples]:
        """Return the rows to train on, for validation and for the refit."""
        examples = StoredExamples(
            files=tuple(directory / f"{number}.arrow" for number in range(N_AS_OF)),
            as_of=np.datetime64("2024-01-01", "us") + np.arange(N_AS_OF) * np.timedelta64(14, "D"),
            popularity=np.random.default_rng(0).random((N_AS_OF, self.categories)).astype(np.float32) * 0.01,
            rows_per_as_of=np.full(N_AS_OF, self.rows // N_AS_OF),
            n_features=self.features,
        )
        last = np.arange(N_AS_OF) == N_AS_OF - 1
        return examples.at(~last), examples.at(last), examples


CASES = {
    "small": Case(20_000, 300, 10_000, 25, 49, 128, (64, 32), 3),
    "middle": Case(100_000, 1_000, 50_000, 25, 49, 256, (128, 64), 2),
    "large": Case(300_000, 2_000, 200_000, 25, 49, 1024, (256, 128), 1),
}


def forecast(case: Case, directory: Path) -> dict[str, Any]:
    """Forecast by the clock and on the processors, as a function of the epochs."""
    from propensity.training.forecast import forecast_shape  # noqa: PLC0415
    from propensity.training.training_shape import shape_of_examples  # noqa: PLC0415

    train, validation, refit = case.parts(directory)
    started = time.perf_counter()
    shape = shape_of_examples(train, validation, refit, dictionary=case.dictionary(), categories=case.names)
    found = {
        name: forecast_shape(case.settings, shape, directory, retrieved=False, probe=True, clock=clock)
        for name, clock in (("wall", time.perf_counter), ("cpu", time.process_time))
    }
    wall = found["wall"]
    return {
        "memory": wall.memory,
        "columns": wall.columns,
        "took": (time.perf_counter() - started) / 2,
        "seconds": {
            name: {str(kept): each.stages(case.epochs, kept) for kept in range(1, case.epochs + 1)}
            for name, each in found.items()
        },
    }


def train(case: Case, directory: Path) -> dict[str, Any]:
    """Train as `propensity train` does once the rows are there; return what it took."""
    from propensity.training.service import fit_net  # noqa: PLC0415

    train, validation, refit = case.parts(directory)
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = fit_net(
        case.settings,
        train,
        validation,
        refit,
        dictionary=case.dictionary(),
        categories=case.names,
        scratch=directory,
        checkpoints=directory / "checkpoints",
    )
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        # Not getrusage's: Linux counts in what the caller held at the start.
        "peak": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024,
        "columns": fitted.model.encoder.n_columns,
        "kept": fitted.best_epoch,
    }


def worker(what: str, case: Case, directory: Path) -> dict[str, Any]:
    """Do one thing in a process of its own."""
    command = [sys.executable, __file__, "--worker", what, str(directory), "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"TZ": "UTC"})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--stages", action="store_true", help="print each phase's and each stage's forecast too")
    parser.add_argument("--directory", type=Path, help="where to keep rows meanwhile, by default the system's")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, place = options.worker
        print(json.dumps({"forecast": forecast, "train": train}[what](Case(**json.loads(options.case)), Path(place))))
        return
    print(
        "                               memory GB              CPU s                  s by the clock         forecast"
    )
    print("   rows categories columns  forecast peak  ratio  forecast  taken ratio  forecast  taken ratio  took s")
    for name in options.cases:
        case = CASES[name]
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            case.write(Path(directory))
            said, happened = worker("forecast", case, Path(directory)), worker("train", case, Path(directory))
        peak = max(said["memory"].values())
        line = f"{case.rows:7,} {case.categories:10,} {happened['columns']:7,}  {peak / 1e9:8.2f} "
        line += f"{happened['peak'] / 1e9:5.2f} {happened['peak'] / peak:6.2f}"
        for clock in ("cpu", "wall"):
            seconds = sum(said["seconds"][clock][str(happened["kept"])].values())
            line += f"  {seconds:8.1f} {happened[clock]:6.1f} {happened[clock] / seconds:5.2f}"
        print(f"{line}  {said['took']:6.1f}", flush=True)
        if options.stages:
            print({phase: round(held / 1e9, 2) for phase, held in said["memory"].items()})
            print({stage: round(s, 1) for stage, s in said["seconds"]["cpu"][str(happened["kept"])].items()})


if __name__ == "__main__":
    main()
