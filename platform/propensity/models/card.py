"""The model card: the metadata for people."""

from __future__ import annotations

from typing import Any


def model_card(metadata: dict[str, Any]) -> str:
    """Return the text of MODEL_CARD.md for an artifact's metadata as JSON."""
    classes = " < ".join(("none", *metadata["event_types"]))
    n_categories = len(metadata["categories"])
    libraries = ", ".join(f"{name} {version}" for name, version in metadata["libraries"].items())
    window_start, window_end = metadata["training_window"]
    lines = [
        f"# Model {metadata['model_version']} of region {metadata['region']}",
        "",
        (
            f"Predicts, for a customer and each of {n_categories} categories, how likely the customer "
            f"acts in the category in the next {metadata['horizon_days']} days. Classes: {classes}."
        ),
        "",
        "| | |",
        "|---|---|",
        f"| network | {metadata['network']} |",
        f"| training window | {window_start} to {window_end} |",
        f"| training cut-offs | {len(metadata['training_as_ofs'])} |",
        f"| early stopping and calibration on | {metadata['validation_as_of']} |",
        f"| data fingerprint | {metadata['data_fingerprint']} |",
        f"| category-aligned signals | {', '.join(metadata['aligned_signals']) or 'none'} |",
        f"| libraries | {libraries} |",
        "",
        "## Metrics",
        "",
        *_metrics(metadata["metrics"]),
        "",
        "## Standing",
        "",
        (
            "The gate decides whether this model scores; it judges the net before the refit, which lies in "
            f"`validated/`. The decision and its numbers: `propensity models show {metadata['model_version']}`."
        ),
        "",
        "## Intended use",
        "",
        *(f"- {line}" for line in intended_use(metadata)),
        "",
        "## Limits",
        "",
        *(f"- {line}" for line in limits(metadata)),
        "",
    ]
    return "\n".join(lines)


def intended_use(metadata: dict[str, Any]) -> list[str]:
    """Return what an artifact is for and what it isn't, a sentence or two each; code is between backticks."""
    return [
        (
            "Ranking customers within a category, choosing and sizing audiences, and estimating demand: the sum of "
            f"propensities over customers is the expected number who act in the next {metadata['horizon_days']} days."
        ),
        "Ranking categories for a customer, and input for other models.",
        (
            "Not for decisions that matter to a person beyond the offers they see: credit, employment, insurance, "
            "or a price of their own."
        ),
    ]


def limits(metadata: dict[str, Any]) -> list[str]:
    """Return what an artifact can't do, a sentence or two each; code is between backticks."""
    return [
        (
            "Propensities are calibrated for the horizon above and for customers like those trained on; "
            "they say nothing about the effect of an offer."
        ),
        f"A category that isn't listed in `metadata.json` gets {metadata['unseen_category_prior']:.2g}.",
        (
            "Popularity of categories is an input: score with the popularity at the scoring as_of, else "
            "the model falls back on that of its newest training as_of."
        ),
    ]


def _metrics(metrics: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            lines += _metrics(value, f"{prefix}{name} / ")
        elif isinstance(value, float):
            lines.append(f"- {prefix}{name}: {value:.5f}")
        else:
            lines.append(f"- {prefix}{name}: {value}")
    return lines or ["None recorded."]
