"""How near the net comes to the true propensities with a million training rows, and what each stage takes.

A steady population (docs/simulation.md) goes through the platform's own commands, each in a process of its own:
simulate, truth, features, labels, apply, train, score, evaluate. Rows are customers times cut-offs; the net is
measured on a later label window than all it learned from. Its log loss must be within 2 % of the oracle's, the least
that any model can reach, else the benchmark fails.

The default two nets and six epochs are for tens of thousands of rows. With as many rows as here fewer passes do:
what TRAINING sets, which the environment overrides (`PROPENSITY_TRAINING__EPOCHS=3`).

Run by `make bench`, or: python tests/benchmarks/bench_oracle.py --rows 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from contextlib import nullcontext
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from measured_command import Taken, propensity

START = date(2023, 1, 1)
REGION = "sim"
HORIZON_DAYS, CUTOFF_EVERY_DAYS, HISTORY_DAYS = 30, 14, 400
"""Label window; days between cut-offs; what the oldest cut-off knows. Signals look back 365 days."""
TRAINING = {
    "PROPENSITY_TRAINING__NETS": "1",
    "PROPENSITY_TRAINING__EPOCHS": "2",
    "PROPENSITY_TRAINING__BATCH_SIZE": "256",
}
WITHIN = 1.02
"""Of the oracle's log loss."""
FIGURES = ("log_loss", "micro_auc", "macro_auc")


def arguments() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="training rows: customers times cut-offs")
    parser.add_argument("--cutoffs", type=int, default=10, help="training cut-offs, two weeks apart")
    parser.add_argument("--categories", type=int, default=100)
    parser.add_argument("--features", type=int, default=200, help="product types")
    parser.add_argument("--purchases-per-day", type=float, default=0.3, help="of a customer")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--home", type=Path, help="stays; the same home again does what is missing, e.g. trains anew")
    return parser.parse_args()


def environment_of(given: argparse.Namespace, home: Path) -> dict[str, str]:
    """Return the commands' settings: ours where the environment has none, and what the flags decide."""
    theirs = {name: value for name, value in os.environ.items() if name.startswith("PROPENSITY_")}
    decided = {
        "PROPENSITY_HOME": str(home),
        "PROPENSITY_REGION": REGION,
        "PROPENSITY_LABELS__HORIZON_DAYS": str(HORIZON_DAYS),
        "PROPENSITY_TRAINING__CUTOFFS": str(given.cutoffs),
        "PROPENSITY_TRAINING__CUTOFF_EVERY_DAYS": str(CUTOFF_EVERY_DAYS),
    }
    return TRAINING | theirs | decided


def run(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Go through all stages and print what each takes; return the figures of the evaluation's report."""
    environment = environment_of(given, home)
    oldest = START + timedelta(days=HISTORY_DAYS)
    newest = oldest + timedelta(days=CUTOFF_EVERY_DAYS * (given.cutoffs - 1))
    as_of = newest + timedelta(days=HORIZON_DAYS)
    population = {
        "customers": given.rows // given.cutoffs,
        "categories": given.categories,
        "features": given.features,
        "purchases-per-day": given.purchases_per_day,
        "days": (as_of - START).days + HORIZON_DAYS + 1,
        "start": START,
        "seed": given.seed,
    }
    flags = [part for name, value in population.items() for part in (f"--{name}", str(value))]
    series = ("--from", str(oldest), "--to", str(newest), "--every", f"{CUTOFF_EVERY_DAYS}d")
    at = ("--as-of", str(as_of))
    print(", ".join(f"{name} {value}" for name, value in population.items()))
    print(*(f"{name}={value}" for name, value in sorted(environment.items()) if "TRAINING" in name), sep=", ")
    print(f"{'stage':24s}{'wall s':>8s}{'CPU s':>8s}{'peak GB':>9s}")
    everything = []

    def take(stage: str, *command: str) -> Taken:
        taken = propensity(*command, environment=environment)
        everything.append(taken)
        print(f"{stage:24s}{taken.wall:8.1f}{taken.cpu:8.1f}{taken.peak / 1e9:9.2f}", flush=True)
        return taken

    take("simulate", "simulate", "--steady", *flags)
    take("truth", "simulate", "truth", *at)
    take("features", "features", "build", *series)
    take("features of the as_of", "features", "build", *at)
    take("labels", "labels", "build", *series)
    take("apply", "apply")
    said = take("train, and the gate", "train", *at).said
    (model,) = re.findall(r"^Model (\S+) is", said, re.MULTILINE)
    take("score", "score", *at, "--model", model)
    take("evaluate", "evaluate", *at, "--model", model)
    wall, cpu = sum(taken.wall for taken in everything), sum(taken.cpu for taken in everything)
    print(f"{'all':24s}{wall:8.1f}{cpu:8.1f}{max(taken.peak for taken in everything) / 1e9:9.2f}")
    metadata = json.loads((home / "models" / REGION / model / "metadata.json").read_text())
    for entry in metadata["history"]:
        print(*(f"{key} {value:.5f}" if isinstance(value, float) else f"{key} {value}" for key, value in entry.items()))
    figures: dict[str, Any] = json.loads((home / "reports" / REGION / f"{model}-on-{as_of}.json").read_text())
    return figures


def print_figures(figures: dict[str, Any]) -> float:
    """Print each model's figures over all pairs; return the net's log loss as a multiple of the oracle's."""
    check, everyone = figures["check"], figures["evaluations"] | {"oracle": figures["oracle"]}
    print(f"measured on {check['households']:,} customers x {check['categories']} categories, ", end="")
    print(f"label density {check['label_density']:.4f}")
    print(f"{'':28s}" + "".join(f"{name.replace('_', ' '):>11s}" for name in (*FIGURES, "of oracle")))
    best: float = figures["oracle"]["all"]["log_loss"]
    for name, evaluation in everyone.items():
        found = [evaluation["all"][figure] for figure in FIGURES]
        print(f"{name.replace('_', ' '):28s}" + "".join(f"{value:11.4f}" for value in (*found, found[0] / best)))
    return float(everyone["net"]["all"]["log_loss"]) / best


def main() -> None:
    """Print the tables; exit with 1 where the net is farther from the oracle than WITHIN."""
    given = arguments()
    with nullcontext(given.home) if given.home else tempfile.TemporaryDirectory() as home:
        figures = run(given, Path(home))
    ratio = print_figures(figures)
    print(f"net / oracle {ratio:.4f}, to be at most {WITHIN}: {'yes' if ratio <= WITHIN else 'no'}")
    sys.exit(ratio > WITHIN)


if __name__ == "__main__":
    main()
