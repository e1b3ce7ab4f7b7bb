"""What a backtest leaves to read: figures as CSV and JSON, and the series drawn in one self-contained page."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from propensity.experiments.backtest_page import page
from propensity.experiments.backtest_table import csv_rows, summary

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.experiments.cutoff_result import CutoffResult
    from propensity.settings import Settings

CSV: Final = "figures.csv"
JSON: Final = "figures.json"
PAGE: Final = "series.html"


def write_report(directory: Path, results: Sequence[CutoffResult], settings: Settings) -> None:
    """Write the series below `directory`: a row per cut-off and model as CSV, the same as JSON, and a page.

    Side effects: makes the directory; replaces each file by one rename.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rows = list(csv_rows(results, settings))
    with (directory / f"{CSV}.part").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    content = {
        "summary": summary(results),
        "region": settings.region,
        "settings": {
            "training": settings.training.model_dump(mode="json"),
            "labels": settings.labels.model_dump(mode="json"),
        },
        "figures": rows,
    }
    (directory / f"{JSON}.part").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    (directory / f"{PAGE}.part").write_text(page(results, settings))
    for name in (CSV, JSON, PAGE):
        (directory / f"{name}.part").replace(directory / name)
