"""What the command line prints: data on standard output, messages and progress on standard error.

On a terminal a step has a bar and a table fits the window; elsewhere a stage is a line and a row is never folded, so
that `grep` and `awk` see it whole.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

UNFOLDED: Final = 100_000
"""Columns of an output that is no terminal."""

output = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else UNFOLDED)
messages = Console(stderr=True, highlight=False, soft_wrap=True)


class ConsoleObserver:
    """Draws progress on standard error; a `pipeline.Observer` to be used as a context manager."""

    def __init__(self) -> None:
        """Prepare; nothing is drawn before the block begins, and no bars unless on a terminal."""
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=messages,
            transient=True,
            disable=not messages.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing and clear the bars."""
        self._bars.stop()

    def progress(self, step: str, done: int, total: int) -> None:
        """Move the step's bar."""
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)

    def finished(self, stage: str, what: str, seconds: float) -> None:
        """Replace the stage's bars by one line."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
        messages.print(Text.assemble(("✓", "green"), f" {stage:<12} {what}  ", (f"{seconds:.1f} s", "dim")))


@contextmanager
def stage(name: str) -> Iterator[tuple[list[str], ConsoleObserver]]:
    """Yield a list for what was done and an observer; a block that ends well becomes one line on standard error."""
    started = time.monotonic()
    done: list[str] = []
    with ConsoleObserver() as observer:
        yield done, observer
        observer.finished(name, "; ".join(done), time.monotonic() - started)


def print_error(message: str) -> None:
    """Print a message on standard error, in one line whatever it holds."""
    messages.print(Text.assemble(("error:", "red"), " ", " ".join(message.split())))


def print_rows(head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table on standard output."""
    table = Table(box=None, pad_edge=False, title=None if title is None else Text(title), title_justify="left")
    for name in head:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    output.print(table)


def print_frame(frame: pd.DataFrame, *, as_json: bool = False, csv: Path | None = None) -> None:
    """Print a frame as a table, as JSON lines, or write it to a CSV file; `-` is standard output."""
    if csv is not None:
        frame.to_csv(sys.stdout if str(csv) == "-" else csv, index=False)
        if str(csv) != "-":
            messages.print(Text(f"{len(frame):,} rows written to {csv}"))
    elif as_json:
        for row in json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us")):
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    else:
        print_rows(
            tuple(frame.columns),
            [
                tuple(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row)
                for row in frame.itertuples(index=False)
            ],
        )
