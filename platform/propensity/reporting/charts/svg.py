"""SVG as text: elements and their attributes, escaped."""

from __future__ import annotations

from html import escape

Value = str | float


def element(name: str, attributes: dict[str, Value] | None = None, *children: str) -> str:
    """Return an element.

    Args:
        name: E.g. `circle`.
        attributes: By name; numbers are written with two digits at most.
        children: Markup; texts go through `text` first.
    """
    written = "".join(f' {key}="{_attribute(value)}"' for key, value in (attributes or {}).items())
    return f"<{name}{written}>{''.join(children)}</{name}>"


def text(content: str) -> str:
    """Return text as markup."""
    return escape(content, quote=False)


def tooltip(content: str) -> str:
    """Return what a browser shows while the pointer is on the parent element."""
    return element("title", None, text(content))


def path_of(points: list[tuple[float, float]]) -> str:
    """Return the `d` of a line through the points, in pixels."""
    return "M" + "L".join(f"{number(x)},{number(y)}" for x, y in points) if points else ""


def number(value: float) -> str:
    """Return a coordinate with two digits at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _attribute(value: Value) -> str:
    return escape(value, quote=True) if isinstance(value, str) else number(value)
