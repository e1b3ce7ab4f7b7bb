"""Flags of bench_training_step.py, bench_scaling_plan.py and bench_scorer.py: sizes of the net and of the data."""

from __future__ import annotations

import argparse

import training_step_data as data


def shape_flags(description: str, **sizes: int) -> argparse.ArgumentParser:
    """Return a parser of the sizes that all have, as in DESIGN.md, and of more by the names and defaults given."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in {"features": 200_000, "non-zeros": 80, "outputs": 2_000, **sizes, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default:,}")
    parser.add_argument("--hidden", type=int, nargs=2, default=(256, 128), help="default: 256 128")
    return parser


def shape_of(
    given: argparse.Namespace, *, batch: int, steps: int, positives: int, seen: int = 1, signals: int = 1
) -> data.Shape:
    """Return the shape of these flags; a net without a category-aligned part reads none of what is seen."""
    return data.Shape(
        features=given.features,
        non_zeros=given.non_zeros,
        hidden=tuple(given.hidden),
        outputs=given.outputs,
        batch=batch,
        positives=positives,
        seen=seen,
        signals=signals,
        steps=steps,
    )


def positives_of(outputs: int) -> int:
    """Return the positive labels of a row in a training."""
    return max(1, min(20, outputs // 10))
