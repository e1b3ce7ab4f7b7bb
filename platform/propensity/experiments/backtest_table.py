"""The series in words and figures: a table for the terminal, rows for CSV, one line that sums up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from propensity.experiments.cutoff_result import NET, CutoffResult, local_day

if TYPE_CHECKING:
    from propensity.evaluation.evaluation import Evaluation
    from propensity.settings import Settings

FIGURES: Final[dict[str, Callable[[Evaluation], float]]] = {
    "log loss": lambda evaluation: evaluation.all.log_loss,
    "macro AUC": lambda evaluation: evaluation.all.macro_auc,
    "explore AUC": lambda evaluation: evaluation.explore.micro_auc,
    "NDCG@10": lambda evaluation: evaluation.all.ndcg_at_10,
    "ECE": lambda evaluation: evaluation.all.ece,
}
"""What the table and the plot show, by its title."""


def backtest_table(results: Sequence[CutoffResult], settings: Settings) -> Table:
    """Return a rich table, two rows a cut-off: the net, and the baseline with the lowest log loss.

    "difference" is the net's log loss less that baseline's with its paired 95 % interval; "ahead" says whether the net
    beats every baseline in log loss and macro AUC.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("cut-off")
    table.add_column("model", max_width=18)
    for title in FIGURES:
        table.add_column(title.replace(" ", "\n").replace("@", "\n@"), justify="right")
    table.add_column("difference", justify="right")
    table.add_column("ahead")
    for result in results:
        gain = result.gains[result.rival]
        interval = f"{_signed(gain.mean)}\n({_signed(gain.low)} to {_signed(gain.high)})"
        for name, difference, ahead in (
            (NET, interval, "yes" if result.ahead else "no"),
            (result.rival, "", ""),
        ):
            figures = [_written(figure(result.evaluations[name])) for figure in FIGURES.values()]
            cut_off = local_day(settings, result.as_of) if name == NET else ""
            table.add_row(cut_off, name.replace("_", " "), *figures, difference, ahead)
    return table


def summary(results: Sequence[CutoffResult]) -> str:
    """Return what the series says, in one line."""
    n = len(results)
    said = (
        f"The net is ahead of every baseline in log loss and macro AUC on {sum(each.ahead for each in results)} of {n} "
        f"cut-offs; its log loss is lower with 95 % confidence on {sum(each.surely_ahead for each in results)} of {n}."
    )
    undefined = sum(not result.has_macro_auc for result in results)
    if undefined:
        said += f" Macro AUC isn't defined on {undefined}: no category has 20 positives; they count as not ahead."
    return said


def csv_rows(results: Sequence[CutoffResult], settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row per cut-off and model: every figure of every segment, and the net's difference to a baseline.

    Figures are named `segment.figure`, e.g. `all.log_loss`; one that isn't defined is None. The `net_minus_this…`
    columns are the net's log loss less that of the row's baseline with its paired 95 % interval, None in the net's row.
    """
    for result in results:
        for name, evaluation in result.evaluations.items():
            gain = result.gains.get(name)
            row: dict[str, Any] = {
                "cutoff": local_day(settings, result.as_of),
                "as_of": result.as_of.isoformat(),
                "model": name,
                "model_version": result.model_version if name == NET else None,
                "training_as_ofs": result.training_as_ofs,
                "customers": evaluation.households,
                "categories": evaluation.categories,
                "net_is_ahead": result.ahead,
                "net_minus_this_log_loss": None if gain is None else gain.mean,
                "net_minus_this_low": None if gain is None else gain.low,
                "net_minus_this_high": None if gain is None else gain.high,
            }
            for segment in ("all", "repeat", "explore"):
                for figure, value in asdict(getattr(evaluation, segment)).items():
                    row[f"{segment}.{figure}"] = None if math.isnan(value) else value
            yield row


def _written(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}".removeprefix("0")


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("0.", ".", 1)
