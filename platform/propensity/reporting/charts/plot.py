"""One chart: axes, marks and a legend as SVG that says in words what it shows.

Colours are the page's style classes `s1` … `s4` (see page.css); a mark has a shape of its own as well, so that nothing
hangs on colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from propensity.reporting.charts.axes import Axis
from propensity.reporting.charts.svg import element, path_of, text, tooltip

SHAPES: Final = ("circle", "square", "triangle", "diamond")
DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")
LETTER: Final = 6.2
"""Width of a letter of the legend, in pixels of the drawing; generous."""


@dataclass
class Plot:
    """A chart while it's drawn; `render` returns it.

    Attributes:
        name: Unique in the page.
        title: What it shows, in a line.
        description: What a reader who can't see it should know.
        x: Horizontal axis.
        y: Vertical axis.
        width: In pixels of the drawing.
        height: Likewise.
        left: Room for the vertical axis' labels.
    """

    name: str
    title: str
    description: str
    x: Axis
    y: Axis
    width: int = 360
    height: int = 320
    left: int = 54
    _marks: list[str] = field(default_factory=list)
    _legend: list[tuple[str, int, str]] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return a point's pixels."""
        return self.x_at(x), self.y_at(y)

    def x_at(self, x: float) -> float:
        """Return the horizontal pixel of a value."""
        return self.left + self.x.share(x) * (self.width - self.left - 24)

    def y_at(self, y: float) -> float:
        """Return the vertical pixel of a value."""
        bottom, top = self.height - 44, 34
        return bottom - self.y.share(y) * (bottom - top)

    def line(self, points: list[tuple[float, float]], series: int) -> None:
        """Draw a line through points in the axes' units, in the dashes of the series (0, 1 …)."""
        attributes: dict[str, str | float] = {
            "class": f"line {style(series)}",
            "d": path_of([self.at(x, y) for x, y in points]),
        }
        dash = DASHES[series % len(DASHES)]
        if dash:
            attributes["stroke-dasharray"] = dash
        self._marks.append(element("path", attributes))

    def point(self, x: float, y: float, series: int, says: str, radius: float = 4.0) -> None:
        """Draw a point in the shape of the series; `says` shows while the pointer is on it."""
        self._marks.append(mark(*self.at(x, y), series, radius, says))

    def bar(self, left: float, right: float, y: float, series: int, says: str) -> None:
        """Draw a bar from the axis' lower end to `y`, between two horizontal pixels."""
        top, bottom = self.y_at(y), self.y_at(self.y.low)
        attributes: dict[str, str | float] = {
            "class": f"bar {style(series)}",
            "x": left,
            "y": top,
            "width": max(0.5, right - left),
            "height": max(0.0, bottom - top),
        }
        self._marks.append(element("rect", attributes, tooltip(says)))

    def reference(self, first: tuple[float, float], last: tuple[float, float]) -> None:
        """Draw a thin straight line to compare with."""
        self._marks.append(element("path", {"class": "reference", "d": path_of([self.at(*first), self.at(*last)])}))

    def raw(self, markup: str) -> None:
        """Draw markup in pixels."""
        self._marks.append(markup)

    def legend(self, name: str, series: int, kind: str = "line") -> None:
        """Name a series; `kind` is line, point or bar."""
        self._legend.append((name, series, kind))

    def render(self) -> str:
        """Return the chart as an `svg` element."""
        return element(
            "svg",
            {
                "viewBox": f"0 0 {self.width} {self.height + (20 * self._legend_rows())}",
                "role": "img",
                "aria-labelledby": f"{self.name}-title {self.name}-desc",
                "class": "chart",
            },
            element("title", {"id": f"{self.name}-title"}, text(self.title)),
            element("desc", {"id": f"{self.name}-desc"}, text(self.description)),
            _label(10, 20, self.title, "start", "chart-title"),
            *self._axes(),
            *self._marks,
            *self._keys(),
        )

    def _axes(self) -> list[str]:
        bottom, right = self.y_at(self.y.low), self.x_at(self.x.high)
        drawn = []
        for tick in self.x.ticks:
            x = self.x_at(tick)
            drawn.append(element("path", {"class": "grid", "d": path_of([(x, bottom), (x, self.y_at(self.y.high))])}))
            drawn.append(_label(x, bottom + 15, self.x.written(tick), "middle"))
        for tick in self.y.ticks:
            y = self.y_at(tick)
            drawn.append(element("path", {"class": "grid", "d": path_of([(self.left, y), (right, y)])}))
            drawn.append(_label(self.left - 6, y + 4, self.y.written(tick), "end"))
        drawn.append(element("path", {"class": "axis", "d": path_of([(self.left, bottom), (right, bottom)])}))
        drawn.append(_label((self.left + right) / 2, self.height - 10, self.x.label, "middle", "axis-title"))
        middle = (bottom + self.y_at(self.y.high)) / 2
        if self.y.label:
            turned = f"translate(13 {middle:.0f}) rotate(-90)"
            attributes: dict[str, str | float] = {"class": "axis-title", "text-anchor": "middle", "transform": turned}
            drawn.append(element("text", attributes, text(self.y.label)))
        return drawn

    def _places(self) -> list[tuple[float, int]]:
        """Return where each key of the legend begins: pixel and row."""
        places, x, row = [], float(self.left), 0
        for name, _, _ in self._legend:
            width = 34 + LETTER * len(name)
            if x > self.left and x + width > self.width:
                x, row = float(self.left), row + 1
            places.append((x, row))
            x += width
        return places

    def _legend_rows(self) -> int:
        return 1 + self._places()[-1][1] if self._legend else 0

    def _keys(self) -> list[str]:
        keys = []
        for (name, series, kind), (x, row) in zip(self._legend, self._places(), strict=True):
            y = self.height + 8 + 20 * row
            if kind == "bar":
                sign = element(
                    "rect", {"class": f"bar {style(series)}", "x": x + 4, "y": y - 5, "width": 12, "height": 10}
                )
            elif kind == "point":
                sign = mark(x + 10, y, series, 4.0, name)
            else:
                dash = DASHES[series % len(DASHES)]
                line: dict[str, str | float] = {"class": f"line {style(series)}", "d": path_of([(x, y), (x + 20, y)])}
                sign = element("path", line | ({"stroke-dasharray": dash} if dash else {}))
            keys.append(sign + _label(x + 25, y + 4, name, "start"))
        return keys


def mark(x: float, y: float, series: int, radius: float, says: str) -> str:
    """Return a point at pixels in the shape of the series."""
    shape = SHAPES[series % len(SHAPES)]
    attributes: dict[str, str | float] = {"class": f"point {style(series)}"}
    if shape == "circle":
        return element("circle", attributes | {"cx": x, "cy": y, "r": radius}, tooltip(says))
    if shape == "square":
        side = radius * 1.8
        box: dict[str, str | float] = {"x": x - side / 2, "y": y - side / 2, "width": side, "height": side}
        return element("rect", attributes | box, tooltip(says))
    corners = (
        [(x, y - radius * 1.2), (x + radius * 1.1, y + radius * 0.8), (x - radius * 1.1, y + radius * 0.8)]
        if shape == "triangle"
        else [(x, y - radius * 1.3), (x + radius * 1.3, y), (x, y + radius * 1.3), (x - radius * 1.3, y)]
    )
    return element("path", attributes | {"d": path_of(corners) + "Z"}, tooltip(says))


def style(series: int) -> str:
    """Return the style class of a series (0, 1 …)."""
    return f"s{series % 4 + 1}"


def row_name(x: float, y: float, name: str, anchor: str = "start") -> str:
    """Return the name of a row at pixels."""
    return _label(x, y, name, anchor, "name")


def _label(x: float, y: float, content: str, anchor: str, kind: str = "tick") -> str:
    return element("text", {"class": kind, "x": x, "y": y, "text-anchor": anchor}, text(content))
