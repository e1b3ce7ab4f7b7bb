"""A strict reader of our own HTML: every element that opens must close, in order, and nothing may be twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "hr", "img"}


@dataclass
class Node:
    """An element with what is in it."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Node] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> list[Node]:
        """Return the elements below of that tag that have these attributes, in document order."""
        found = []
        for child in self.children:
            if child.tag == tag and all(child.attributes.get(name) == value for name, value in attributes.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> Node:
        """Return the only such element."""
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(self.texts)


class Reader(HTMLParser):
    """Builds the tree; raises AssertionError where the nesting is wrong."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]
        self.doctype = ""

    def handle_decl(self, decl: str) -> None:
        self.doctype = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> closes itself")

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> at {self.getpos()} closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for node in self.open:
            node.texts.append(data)


def read(html: str) -> Node:
    """Return the document's tree."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.doctype == "DOCTYPE html"
    assert [node.tag for node in reader.open] == [""], "an element is left open"
    return reader.root.one("html")


def cells(document: Node, table: str) -> list[list[str]]:
    """Return the texts of a table's body."""
    rows = document.one("table", id=table).one("tbody").all("tr")
    return [[cell.text for cell in row.children] for row in rows]


def values(document: Node, table: str) -> list[list[float | str]]:
    """Return a table's unrounded numbers, and texts where there is none."""
    rows = document.one("table", id=table).one("tbody").all("tr")
    return [
        [
            float(number) if (number := cell.attributes.get("data-value")) is not None else cell.text
            for cell in row.children
        ]
        for row in rows
    ]
