"""What a page is made of: figures, each with the same numbers as a table, and tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

NOTHING: Final = "–"
"""Stands for a figure that isn't defined."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it shows.
        value: What it is sorted by and what the figures' file holds: the unrounded number; None for text, and for a
            figure that isn't defined.
        best: The best of its column.
    """

    text: str
    value: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its head.
        numeric: Numbers, aligned right.
        explains: Said on its head, where the title isn't enough.
    """

    title: str
    numeric: bool = True
    explains: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Unique in the page.
        caption: What it shows.
        columns: The first one names the row.
        rows: Cells of each row, as many as columns.
        filterable: Rows can be found by their name and, where a second column is numeric, kept from a minimum on.
            All tables can be sorted.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: list[list[Cell]]
    filterable: bool = False


@dataclass(frozen=True)
class Figure:
    """One or more charts side by side.

    Attributes:
        name: Unique in the page.
        caption: What they show and how to read it.
        charts: SVG.
        table: The same numbers.
        wide: The charts take the page's whole width, each.
    """

    name: str
    caption: str
    charts: list[str]
    table: Table
    wide: bool = False


def word(content: str, *, best: bool = False) -> Cell:
    """Return a cell of text."""
    return Cell(content, best=best)


def count(value: float) -> Cell:
    """Return a cell of a whole number."""
    return Cell(NOTHING) if math.isnan(value) else Cell(f"{value:,.0f}", value)


def figure(value: float, digits: int = 4, *, signed: bool = False, best: bool = False) -> Cell:
    """Return a cell of a number with so many digits after the point."""
    if math.isnan(value):
        return Cell(NOTHING)
    return Cell(f"{value:{'+' if signed else ''},.{digits}f}", value, best)


def percent(value: float, digits: int = 2) -> Cell:
    """Return a cell of a share in percent."""
    return Cell(NOTHING) if math.isnan(value) else Cell(f"{value:.{digits}%}", value)


def in_words(name: str) -> str:
    """Return a baseline's or segment's name as people read it."""
    return name.replace("_", " ")
