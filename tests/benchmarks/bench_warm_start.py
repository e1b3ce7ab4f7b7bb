"""Epochs and time to the same validation loss: going on from a previous model beside training from scratch.

A model is trained as of an earlier day, with its refit, as `propensity train` does. As of a later day the first nets,
those that early stopping and calibration see, are then fitted twice on the same rows: from new weights, and from the
previous model's as `propensity train --from-model` does, with `warm_epochs` and `warm_learning_rate`. The later rows
have features that the earlier model didn't know, and categories that came and went. The previous model learned nothing
from the validation window. Time counts from the beginning of the fit, encoder and encoding included, by the clock and
on the processors, which other work on the machine disturbs less.

Complete Journey (its metadata calls the data simulated) comes with the installed packages; `--simulated` takes a
population of `propensity simulate` with drift, new customers and new categories instead, and a shorter time.

Run by `make bench`, or: python tests/benchmarks/bench_warm_start.py --simulated
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from propensity.api import Platform
from propensity.models.encoding import Encoder
from propensity.models.model import Model
from propensity.training.cutoffs import Cutoffs, training_cutoffs
from propensity.training.descent import AS_GOOD
from propensity.training.examples import Examples
from propensity.training.service import examples_at, fit_net
from propensity.training.training_set import TrainingSet

COMPLETE_JOURNEY = "2017-10-02", "2017-11-01"
SIMULATED = {"categories": 120, "features": 1_200, "days": 600, "new_categories": 0.3, "drift": 0.6, "cold_start": 0.4}
UNTIL, APART = 450, 60
"""Of the simulation: the later model's day, while categories still open, and the days from the earlier one."""


@dataclass(frozen=True)
class Epoch:
    """Where a fit stood after an epoch.

    Attributes:
        validation: Multi-label log loss, before calibration.
        wall: Seconds since the fit began.
        cpu: Processor seconds since then, all threads.
    """

    validation: float
    wall: float
    cpu: float


@dataclass(frozen=True)
class Fit:
    """A finished one: its epochs, the validation loss after calibration, and its model."""

    epochs: tuple[Epoch, ...]
    calibrated: float
    model: Model

    def reached(self, loss: float) -> tuple[int, Epoch] | None:
        """Return the first epoch, from 1, whose validation loss is at most `loss`."""
        return next(((i, epoch) for i, epoch in enumerate(self.epochs, 1) if epoch.validation <= loss), None)


def complete_journey(platform: Platform) -> tuple[datetime, datetime]:
    """Import Complete Journey; return when the models are trained as of."""
    platform.migrate()
    platform.import_complete_journey()
    earlier, later = COMPLETE_JOURNEY
    return platform.as_of(earlier), platform.as_of(later)


def simulated(platform: Platform, customers: int, seed: int) -> tuple[datetime, datetime]:
    """Simulate a population; return when the models are trained as of."""
    population = platform.simulate(customers=customers, seed=seed, **SIMULATED).population
    later = population.start + timedelta(days=UNTIL)
    return platform.as_of(later - timedelta(days=APART)), platform.as_of(later)


def read(platform: Platform, windows: Sequence[datetime]) -> TrainingSet:
    """Build features and labels of the windows, and read them."""
    platform.build_features(windows)
    platform.build_labels(windows)
    platform.apply()
    return platform.training_set(windows)


def fit(
    platform: Platform, built: TrainingSet, cutoffs: Cutoffs, *, previous: Model | None = None, refit: bool = False
) -> Fit:
    """Fit as `propensity train` does, with `previous` as it does from a model; without `refit` the first net alone."""
    options = platform.settings.training
    if previous is not None:
        warm = {"epochs": options.warm_epochs, "learning_rate": options.warm_learning_rate}
        options = options.model_copy(update=warm)
    ended: list[tuple[float, float]] = []
    wall, cpu = time.monotonic(), time.process_time()

    def progress(_: str, done: int, total: int) -> None:
        if done % (total // options.epochs) == 0:  # batches: an epoch has ended
            ended.append((time.monotonic() - wall, time.process_time() - cpu))

    def rows(as_ofs: Sequence[datetime]) -> Examples:
        return examples_at(built.examples, as_ofs)

    fitted = fit_net(
        platform.settings.model_copy(update={"training": options}),
        rows(cutoffs.train),
        rows((cutoffs.validation,)),
        rows(cutoffs.refit) if refit else None,
        dictionary=built.dictionary,
        categories=built.categories.names,
        progress=progress,
        previous=None if previous is None else (previous, previous),
    )
    losses = [entry["validation"] for entry in fitted.history if entry["stage"] == "fit"]
    epochs = tuple(Epoch(loss, *at) for loss, at in zip(losses, ended[: len(losses)], strict=True))
    return Fit(epochs, fitted.validation_loss, fitted.model)


def changes(before: Encoder, now: Encoder) -> str:
    """Return in words what the later model knows that the earlier one didn't, and the reverse."""
    n = min(before.n_features, now.n_features)
    known = int(np.count_nonzero((before.feature_column[:n] >= 0) & (now.feature_column[:n] >= 0)))
    new, gone = (
        len(set(a) - set(b)) for a, b in ((now.categories, before.categories), (before.categories, now.categories))
    )
    return (
        f"{now.n_columns:,} features, {now.n_columns - known:,} of them new, {before.n_columns - known:,} dropped; "
        f"{len(now.categories)} categories, {new} of them new, {gone} retired"
    )


def print_epochs(scratch: Fit, warm: Fit) -> None:
    """Print both fits, epoch beside epoch."""
    print(f"\n{'validation loss':28s}{'from scratch':>14s}{'s':>8s}{'CPU s':>8s}{'warm':>14s}{'s':>8s}{'CPU s':>8s}")
    for number in range(max(len(scratch.epochs), len(warm.epochs))):
        line = f"after epoch {number + 1:<16d}"
        for one in (scratch, warm):
            here = one.epochs[number : number + 1]
            line += "".join(f"{epoch.validation:14.5f}{epoch.wall:8.1f}{epoch.cpu:8.1f}" for epoch in here)
            line += "" if here else " " * 30
        print(line.rstrip())
    print(f"{'after calibration':28s}{scratch.calibrated:14.5f}{warm.calibrated:30.5f}")


def print_ratios(scratch: Fit, warm: Fit) -> None:
    """Print what each took to reach the same loss."""
    best = min(epoch.validation for epoch in scratch.epochs)
    print(f"\n{'to the same loss':28s}{'loss':>10s}{'epochs':>10s}{'s':>20s}{'CPU s':>20s}")
    for name, loss in (("scratch's lowest", best), (f"within {AS_GOOD:.2%} of it", best * (1 + AS_GOOD))):
        slow, fast = scratch.reached(loss), warm.reached(loss)
        if slow is None:
            raise RuntimeError("A loss that the fit from scratch had isn't among its epochs'.")
        if fast is None:
            print(f"{name:28s}{loss:10.5f}  the warm start doesn't reach it in {len(warm.epochs)} epochs")
            continue
        (many, late), (few, early) = slow, fast
        print(
            f"{name:28s}{loss:10.5f}{f'{many} to {few}':>10s}"
            + "".join(
                f"{f'{a:.1f} to {b:.1f}, {a / b:.1f}x':>20s}"
                for a, b in ((late.wall, early.wall), (late.cpu, early.cpu))
            )
        )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="A warm start beside a training from scratch.")
    parser.add_argument("--simulated", action="store_true", help="a simulated population instead of Complete Journey")
    parser.add_argument("--customers", type=int, default=3_000, help="of the simulation; default: 3,000")
    parser.add_argument("--seed", type=int, default=7, help="of the simulation; default: 7")
    parser.add_argument("--cutoffs", type=int, default=13, help="training windows; default: 13")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        # One net: a second one differs by chance alone and takes as many epochs.
        platform = Platform(home=Path(home), training={"cutoffs": given.cutoffs, "nets": 1})
        source: Callable[[Platform], tuple[datetime, datetime]] = complete_journey
        if given.simulated:
            source = lambda at: simulated(at, given.customers, given.seed)  # noqa: E731
        earlier, later = source(platform)
        before, now = (training_cutoffs(platform.settings, as_of) for as_of in (earlier, later))
        if now.validation < earlier:
            raise RuntimeError(
                f"The model as of {earlier} learned from the validation window, from {now.validation} on."
            )
        built = read(platform, sorted({*before.refit, *now.refit}))
        previous = fit(platform, built, before, refit=True)
        scratch = fit(platform, built, now)
        warm = fit(platform, built, now, previous=previous.model)
    name = "simulated" if given.simulated else "Complete Journey"
    print(f"{name}, as of {later:%Y-%m-%d} from a model as of {earlier:%Y-%m-%d}")
    print(
        f"{len(examples_at(built.examples, now.train)):,} training rows of {len(now.train)} windows; "
        f"{changes(previous.model.encoder, scratch.model.encoder)}"
    )
    print_epochs(scratch, warm)
    print_ratios(scratch, warm)


if __name__ == "__main__":
    main()
