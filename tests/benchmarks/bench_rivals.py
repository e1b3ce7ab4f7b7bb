"""The net beside PECOS and scikit-learn's one-vs-rest logistic regression on a simulated population with known truth.

All learn from the same windows and the same features, choose on the same validation window, and are measured on a later
one: log loss per pair, and P@k, the share of a customer's first k categories that she bought, over customers who bought
any. Rivals (rival_sklearn.py, rival_pecos.py) run in processes of their own and read one sparse matrix: log1p of every
feature that enough training rows have. Time to train is wall and CPU: the net's with early stopping, both of its nets,
calibration and the refit; the rivals' with the choice of a penalty and the refit. The oracle is the true propensity.

Run by `make bench`, or: python tests/benchmarks/bench_rivals.py --customers 4000 --categories 200
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rival_matrices
from peer_environment import PEERS, peers_have
from scipy.sparse import csr_matrix

from propensity.api import Platform
from propensity.evaluation.metrics import log_loss
from propensity.evaluation.pairs import Pairs
from propensity.evaluation.protocol import expand
from propensity.evaluation.ranking import TopLists
from propensity.models.encoding import squash
from propensity.scoring.scorer import Scorer
from propensity.simulation.truth import oracle
from propensity.simulation.world import last_day
from propensity.training.cutoffs import training_cutoffs
from propensity.training.examples import Examples
from propensity.training.service import examples_at, fit_net
from propensity.training.training_set import TrainingSet

HERE = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
RIVALS = {
    "scikit-learn, one-vs-rest": (sys.executable, "rival_sklearn.py"),
    "PECOS, one-vs-rest": (str(PEERS), "rival_pecos.py", "0"),
    "PECOS, tree": (str(PEERS), "rival_pecos.py", "10"),
}
"""Interpreter, script, and what comes after the directory, the name and the threads."""
LIST_LENGTHS = (1, 3, 5)


@dataclass(frozen=True)
class Windows:
    """A simulated population's examples.

    Attributes:
        built: All of them, with the names of features and categories.
        train: Before the validation window.
        validation: For early stopping, and for choosing penalties.
        refit: Both, and the windows between.
        test: Of the last window that the simulation covers, to be measured on.
        truth: True propensities of the test's pairs, float32, (n_customers, n_categories).
    """

    built: TrainingSet
    train: Examples
    validation: Examples
    refit: Examples
    test: Examples
    truth: npt.NDArray[np.float32]


def simulated(platform: Platform, parameters: dict[str, int]) -> Windows:
    """Simulate a population, build features and labels of the windows, and read them."""
    settings = platform.settings
    population = platform.simulate(**parameters).population
    as_of = platform.as_of(date.fromisoformat(last_day(population)) - timedelta(days=settings.labels.horizon_days))
    cutoffs = training_cutoffs(settings, as_of)
    windows = [*cutoffs.refit, as_of]
    platform.build_features(windows)
    platform.build_labels(windows)
    platform.simulated_truth(as_of)
    platform.apply()
    built = platform.training_set(windows)
    test = examples_at(built.examples, (as_of,))
    return Windows(
        built=built,
        train=examples_at(built.examples, cutoffs.train),
        validation=examples_at(built.examples, (cutoffs.validation,)),
        refit=examples_at(built.examples, cutoffs.refit),
        test=test,
        truth=oracle(settings, as_of, test.customer_id),
    )


def write_matrices(windows: Windows, directory: Path, min_rows: int) -> int:
    """Write what rivals read; return the columns' number."""
    kept = np.flatnonzero(
        np.bincount(windows.train.features.indices, minlength=len(windows.built.dictionary)) >= min_rows
    )
    for name in ("train", "validation", "refit", "test"):
        examples: Examples = getattr(windows, name)
        features = examples.features[:, kept].tocsr()
        features.data = squash(features.data)
        features.sort_indices()  # PECOS asks for it
        rival_matrices.write(directory, name, csr_matrix(features), examples.labels > 0)
    return len(kept)


@dataclass(frozen=True)
class Fitted:
    """What a contender says of the test window, and seconds to train."""

    probabilities: npt.NDArray[np.float32]
    wall: float
    cpu: float


def fit_ours(platform: Platform, windows: Windows) -> Fitted:
    """Train as `propensity train` does, from examples in memory."""
    wall, cpu = time.monotonic(), time.process_time()
    fitted = fit_net(
        platform.settings,
        windows.train,
        windows.validation,
        windows.refit,
        dictionary=windows.built.dictionary,
        categories=windows.built.categories.names,
    )
    took = time.monotonic() - wall, time.process_time() - cpu
    scorer, prior = Scorer(fitted.model), fitted.model.unseen_category_prior
    said = scorer.score_examples(windows.test)
    return Fitted(expand(said, scorer.category_index, windows.test.n_categories, prior), *took)


def fit_rival(name: str, directory: Path) -> Fitted | None:
    """Fit a rival in a process of its own; None, and a line that says so, where it isn't installed."""
    interpreter, script, *more = RIVALS[name]
    if interpreter == str(PEERS) and not peers_have("pecos.xmc.xlinear.model"):
        print(f"{name} is left out: {PEERS} can't import it. Install it: make bench")
        return None
    command = [interpreter, str(HERE / script), str(directory), name, str(CORES), *more]
    # Threads are its own: the matrix libraries' would compete with them.
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    took = json.loads(done.stdout.splitlines()[-1])
    return Fitted(np.load(directory / f"{name}.npy"), took["wall"], took["cpu"])


def figures(windows: Windows, probabilities: npt.NDArray[np.float32]) -> str:
    """Return log loss, its distance from the oracle's, and P@k, as columns."""
    labels = (windows.test.labels > 0).toarray()
    loss, best = log_loss(labels, probabilities), log_loss(labels, windows.truth)
    lists = TopLists.of(Pairs.of(labels, probabilities), max(LIST_LENGTHS))
    hits = "".join(f"{lists.first(k).hits.mean():8.4f}" for k in LIST_LENGTHS)
    return f"{loss:10.4f}{loss / best - 1:+9.1%}{hits}"


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="The net beside PECOS and scikit-learn on simulated data.")
    sizes = {"customers": 2_000, "categories": 50, "features": 300, "days": 540, "seed": 7}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default:,}")
    parser.add_argument("--cutoffs", type=int, default=6, help="training windows; default: 6")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home, matrices = Path(name) / "home", Path(name) / "matrices"
        matrices.mkdir()
        platform = Platform(home=home, training={"cutoffs": given.cutoffs})
        windows = simulated(platform, {size: getattr(given, size) for size in sizes})
        columns = write_matrices(windows, matrices, platform.settings.training.min_feature_rows)
        print(
            f"{given.customers:,} customers, {windows.test.n_categories} categories, {columns:,} columns, "
            f"{len(windows.refit):,} training rows, {CORES} cores"
        )
        print(f"{'':28s}{'wall s':>8s}{'CPU s':>8s}{'log loss':>10s}{'oracle':>9s}{'P@1':>8s}{'P@3':>8s}{'P@5':>8s}")
        for contender in ("ours, category-aligned", *RIVALS):
            fitted = fit_rival(contender, matrices) if contender in RIVALS else fit_ours(platform, windows)
            if fitted is not None:
                said = figures(windows, fitted.probabilities)
                print(f"{contender:28s}{fitted.wall:8.1f}{fitted.cpu:8.1f}{said}", flush=True)
        print(f"{'oracle':44s}{figures(windows, windows.truth)}")


if __name__ == "__main__":
    main()
