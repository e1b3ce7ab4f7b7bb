"""What bfloat16 weights of the sparse layers change on Complete Journey: propensities, quality, memory and time.

The platform's own model, trained by `propensity run` with the settings as they are, scores the label window that
follows it, once as it was trained and once with `scoring.sparse_weights` = bfloat16. Seconds are of the model's forward
pass with all that scoring does around it, medians of some turns; bench_scorer.py has them for larger nets.

Run by `make bench`, or, with a home that `make demo` made: python tests/benchmarks/bench_bfloat16.py --home .propensity
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from measured_command import propensity

if TYPE_CHECKING:
    import numpy as np

    from propensity.models.model import Model
    from propensity.training.examples import Examples

AS_OF = "2017-11-01"
FORMATS = ("float32", "bfloat16")
SPARSE = ("deep.input_weight", "cross.weight")
TURNS = 7


def build(home: Path) -> None:
    """Import Complete Journey, train, score."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("PROPENSITY_")}
    for command in ("migrate", "import complete-journey", f"run --as-of {AS_OF}"):
        propensity(*command.split(), environment=settings | {"PROPENSITY_HOME": str(home), "TZ": "UTC"})


def scored(model: Model, examples: Examples) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return propensities, (n_examples, n_categories), and seconds, by format."""
    from propensity.scoring.scorer import Scorer  # noqa: PLC0415 - whose command is measured first

    scorers = {name: Scorer(model, threads=1, sparse_format=name) for name in FORMATS}
    found = {name: scorer.score_examples(examples) for name, scorer in scorers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in FORMATS}
    for _ in range(TURNS):
        for name, scorer in scorers.items():
            started = time.perf_counter()
            scorer.score_examples(examples)
            seconds[name].append(time.perf_counter() - started)
    return found, {name: statistics.median(taken) for name, taken in seconds.items()}


def main() -> None:
    """Print the difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--home", type=Path, help="that `make demo` made; by default one is made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() if given.home is None else nullcontext(given.home) as name:
        home = Path(name)
        if given.home is None:
            build(home)
        compare(home)


def compare(home: Path) -> None:
    """Score the window both ways and print what differs."""
    import numpy as np  # noqa: PLC0415

    from propensity.api import Platform  # noqa: PLC0415
    from propensity.evaluation.measuring import measure  # noqa: PLC0415
    from propensity.evaluation.protocol import HoldoutWindow  # noqa: PLC0415
    from propensity.evaluation.report import to_markdown  # noqa: PLC0415
    from propensity.features.labels import count_labels  # noqa: PLC0415
    from propensity.models.artifact import read_artifact  # noqa: PLC0415
    from propensity.models.registry import model_for  # noqa: PLC0415
    from propensity.settings import load_settings  # noqa: PLC0415
    from propensity.training.training_set import training_set  # noqa: PLC0415

    settings = load_settings(home=home)
    as_of = Platform(settings).as_of(AS_OF)
    artifact = read_artifact(model_for(settings, as_of).artifact)
    built = training_set(settings, [as_of])
    labels = count_labels(settings, artifact.metadata.training_as_ofs)
    known = labels.at_least[0], labels.rows
    window = HoldoutWindow.of_rows(built.examples, known, built.dictionary, built.categories.names)
    found, seconds = scored(artifact.model, built.examples)
    exact, rounded = (found[name] for name in FORMATS)
    error = np.abs(rounded - exact)
    size = sum(net[name].nbytes for net in artifact.model.nets for name in SPARSE if name in net)
    print(f"{exact.shape[0]:,} customers, {exact.shape[1]:,} categories, {len(artifact.model.nets)} nets")
    print(f"propensities differ by {error.max():.1e} at most, by {error.mean():.1e} on average")
    print(f"weights of sparse layers {size / 1e6:.1f} MB, as bfloat16 {size / 2e6:.1f} MB")
    print(f"seconds {seconds['float32']:.3f}, with bfloat16 {seconds['bfloat16']:.3f}")
    print(f"top 10 categories: {same_top(exact, rounded, 10):.2%} of customers have the same in the same order\n")
    unseen, index = artifact.model.unseen_category_prior, artifact.model.encoder.category_index
    print(to_markdown({name: measure(window, window.align(found[name], index, unseen)).evaluation for name in FORMATS}))


def same_top(exact: np.ndarray, rounded: np.ndarray, k: int) -> float:
    """Return the share of rows whose k highest are the same, in order."""
    from propensity.scoring.top_categories import highest  # noqa: PLC0415

    return float((highest(exact, k) == highest(rounded, k)).all(axis=1).mean())


if __name__ == "__main__":
    main()
