"""Training curves: losses epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from propensity.reporting.charts.axes import Axis, linear
from propensity.reporting.charts.plot import Plot
from propensity.reporting.elements import Column, Figure, Table, figure, word

LOSSES = {"train": "training (with dropout)", "validation": "validation"}
STAGES = {"fit": "net that is judged", "refit": "net that scores (refit)"}
KNOWN = ("stage", "epoch", *LOSSES)


def training(history: Sequence[dict[str, Any]]) -> Figure:
    """Return a chart a stage, and all entries as a table.

    Args:
        history: One entry per epoch: `stage`, `epoch`, `train`, `validation` (None in a refit), and whatever else tells
            nets of an ensemble apart.
    """
    stages = list(dict.fromkeys(str(entry["stage"]) for entry in history))
    more = [name for name in dict.fromkeys(name for entry in history for name in entry) if name not in KNOWN]
    charts = [_chart(stage, [entry for entry in history if str(entry["stage"]) == stage], more) for stage in stages]
    heads = [Column("stage", numeric=False), *(Column(name, numeric=False) for name in more), Column("epoch")]
    rows = [
        [
            word(str(entry["stage"])),
            *(word(str(entry.get(name, ""))) for name in more),
            figure(entry["epoch"], 0),
            *(figure(_loss(entry, name), 5) for name in LOSSES),
        ]
        for entry in history
    ]
    table = Table("training-table", "Losses epoch by epoch", (*heads, *(map(Column, LOSSES.values()))), rows)
    caption = (
        "Multi-label log loss per pair. The first net is stopped early by its loss on the validation window and is the "
        "one the gate judges; the net that scores is trained anew on all windows for as many epochs, so it has no "
        "validation loss. The training loss is measured with dropout, hence above what the net can do."
    )
    return Figure("training", caption, charts, table)


def _chart(stage: str, entries: list[dict[str, Any]], more: list[str]) -> str:
    nets: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for entry in entries:
        nets.setdefault(tuple(str(entry.get(name, "")) for name in more), []).append(entry)
    last = max(int(entry["epoch"]) for entry in entries)
    values = [value for entry in entries for name in LOSSES if math.isfinite(value := _loss(entry, name))]
    step = max(1, -(-last // 10))
    epochs = Axis("epoch", 0.5, last + 0.5, tuple(float(epoch) for epoch in range(1, last + 1, step)))
    held_out = [(value, entry["epoch"]) for entry in entries if math.isfinite(value := _loss(entry, "validation"))]
    description = f"{last} epochs of {len(nets)} net{'s' if len(nets) > 1 else ''}."
    if held_out:
        description += f" The lowest validation loss is {min(held_out)[0]:.5f}, in epoch {min(held_out)[1]}."
    plot = Plot(
        f"training-{stage}",
        f"Losses of the {STAGES.get(stage, stage)}",
        description,
        epochs,
        linear("log loss", values, written=lambda value: f"{value:.4g}"),
        width=440,
        left=62,
    )
    for series, (name, said) in enumerate(LOSSES.items()):
        drawn = False
        for of_net in nets.values():
            points = [(float(entry["epoch"]), _loss(entry, name)) for entry in of_net]
            points = [(x, y) for x, y in points if math.isfinite(y)]
            plot.line(points, series)
            for x, y in points:
                plot.point(x, y, series, f"{said}, epoch {x:.0f}: {y:.5f}", 3.2)
            drawn = drawn or bool(points)
        if drawn:
            plot.legend(said, series)
    return plot.render()


def _loss(entry: dict[str, Any], name: str) -> float:
    value = entry.get(name)
    return math.nan if value is None else float(value)
