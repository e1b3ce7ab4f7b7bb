"""The page as text: sections into the template, with style and script inside."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Final, Literal

import jinja2

from propensity.reporting.elements import Figure, Table

Kind = Literal["paragraph", "head", "list", "table", "figure"]


@dataclass(frozen=True)
class Part:
    """Something in a section.

    Attributes:
        kind: What `content` is.
        content: Text (code between backticks), a list of texts, a table or a figure.
    """

    kind: Kind
    content: str | list[str] | Table | Figure


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: Unique in the page.
        title: Its head.
        parts: In order.
    """

    name: str
    title: str
    parts: list[Part]


@dataclass(frozen=True)
class Tile:
    """A figure at the top of the page.

    Attributes:
        title: Its name.
        text: Its value.
        beside: What to compare it with.
    """

    title: str
    text: str
    beside: str


@dataclass(frozen=True)
class Page:
    """What the template shows.

    Attributes:
        title: Of the document.
        state: The model's state in the registry.
        summary: In a sentence.
        notes: What must be known of the data.
        tiles: The most important figures; empty where the model wasn't evaluated.
        sections: In order.
    """

    title: str
    state: str
    summary: str
    notes: list[str]
    tiles: list[Tile]
    sections: list[Section]


FILES: Final = resources.files("propensity.reporting")


def render(page: Page) -> str:
    """Return the page as HTML; the same page gives the same text."""
    # Charts, style and script are our own markup; everything else is escaped.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Macros first: the text before the document's first line is theirs.
    return (
        environment.from_string(_text("page.html"))
        .render(page=page, style=_text("page.css"), script=_text("page.js"))
        .lstrip()
    )


def _text(name: str) -> str:
    return FILES.joinpath(name).read_text(encoding="utf-8")
