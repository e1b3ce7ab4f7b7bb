"""The page in a real browser: it fits, it sorts, it filters, it asks for nothing, and it can be read.

Chromium runs headless with a copy of the page that ends in a script of ours; what the script finds comes back in the
dumped document. Skipped where there is no Chromium.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from propensity.reporting.page import FILES

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)

pytestmark = pytest.mark.timeout(300)
in_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"needs a browser, one of {', '.join(BROWSERS)}. On Debian: apt-get install chromium"
)

LOOK = """
const rows = (table) => Array.from(table.tBodies[0].rows).filter((row) => !row.hidden);
const found = { errors: window.pageErrors, width: [document.documentElement.scrollWidth, innerWidth] };
// Text that a chart's edge cuts off, or that lies on another text.
found.cut = [];
found.overlapping = [];
for (const svg of document.querySelectorAll("svg")) {
  const frame = svg.getBoundingClientRect();
  const boxes = Array.from(svg.querySelectorAll("text"), (text) => [text.textContent, text.getBoundingClientRect()]);
  for (const [text, box] of boxes) {
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
        || box.bottom > frame.bottom + 1) found.cut.push([svg.getAttribute("aria-labelledby"), text]);
    for (const [other, there] of boxes) {
      if (other !== text && box.left < there.right - 1 && there.left < box.right - 1 && box.top < there.bottom - 3
          && there.top < box.bottom - 3) found.overlapping.push([text, other]);
    }
  }
}
const table = document.querySelector("#categories-table");
const names = () => rows(table).map((row) => row.cells[0].textContent);
const heads = Array.from(table.tHead.rows[0].cells);
const press = (column) => { heads[column].querySelector("button").click(); return names(); };
found.atFirst = names();
found.byName = press(0);
found.byNameAgain = press(0);
found.byLogLoss = press(6);
found.sorted = heads.map((head) => head.getAttribute("aria-sort"));
const [name, least] = table.parentElement.previousElementSibling.querySelectorAll("input");
const type = (field, text) => { field.value = text; field.dispatchEvent(new Event("input")); return names(); };
found.filtered = type(name, "so");
found.said = table.parentElement.previousElementSibling.querySelector("output").textContent;
type(name, "");
found.supported = type(least, "30");
found.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
found.ink = getComputedStyle(document.body).color;
found.paper = getComputedStyle(document.body).backgroundColor;
const out = document.createElement("pre");
out.id = "found";
out.textContent = JSON.stringify(found);
document.body.append(out);
"""
LISTEN = "window.pageErrors = []; addEventListener('error', (event) => pageErrors.push(String(event.message)));"
LISTEN += "addEventListener('securitypolicyviolation', (event) => pageErrors.push(event.blockedURI));"


def chromium(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage", "--no-first-run"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # as root there is none
    command = [str(BROWSER), *options, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def look(page_file: Path, directory: Path, *arguments: str) -> dict:
    """Open a copy of the page and return what LOOK found."""
    copy = directory / "page.html"
    html = page_file.read_text().replace("<head>", f"<head><script>{LISTEN}</script>", 1)
    copy.write_text(html.replace("</body>", f"<script>{LOOK}</script></body>"))
    done = chromium(directory / "profile", *arguments, "--dump-dom", copy.as_uri())
    written = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert written, done.stderr
    return json.loads(written[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.fixture(scope="module")
def found(page_file, tmp_path_factory) -> dict:
    if BROWSER is None:
        pytest.skip("no browser")
    return look(page_file, tmp_path_factory.mktemp("browser"), "--window-size=1240,2000")


@in_browser
def test_nothing_fails_and_nothing_is_asked_for(found):
    assert found["errors"] == []
    assert found["requests"] == []


@in_browser
def test_charts_can_be_read(found):
    assert found["cut"] == []
    assert found["overlapping"] == []


@in_browser
def test_tables_sort_and_filter(found, page_file):
    figures = json.loads(page_file.with_suffix(".json").read_text())
    per_category = figures["evidence"]["diagnostics"]["per_category"]
    names = sorted(each["category"] for each in per_category)
    assert found["atFirst"] == [
        each["category"] for each in sorted(per_category, key=lambda each: (-each["support"], each["category"]))
    ]
    assert found["byName"] == names
    assert found["byNameAgain"] == names[::-1]
    losses = {each["category"]: each["log_loss"] for each in per_category}
    assert [losses[name] for name in found["byLogLoss"]] == sorted(losses.values(), reverse=True)
    assert found["sorted"] == [None] * 6 + ["descending", None]
    assert sorted(found["filtered"]) == [name for name in names if "SO" in name]
    assert found["said"] == f"{len(found['filtered'])} of {len(names)} rows"
    supported = {each["category"] for each in per_category if each["support"] >= 30}
    assert set(found["supported"]) == supported != set(names)


@in_browser
def test_a_phone_shows_it_without_scrolling_sideways(page_file, tmp_path):
    # Chromium's windows are 500 wide at least; a frame can be as narrow as a phone.
    found = look(page_file, tmp_path, "--window-size=500,900")
    width, window = found["width"]
    assert width <= window
    assert found["cut"] == []


@in_browser
def test_it_is_dark_where_the_reader_wants_it_dark(page_file, tmp_path, found):
    dark = look(page_file, tmp_path, "--force-dark-mode")
    for name, shown in (("light", found), ("dark", dark)):
        for colour in ("ink", "paper"):
            red, green, blue = (int(palettes()[name][colour][at : at + 2], 16) for at in (1, 3, 5))
            assert shown[colour] == f"rgb({red}, {green}, {blue})"


@in_browser
def test_it_can_be_seen_and_printed(page_file, tmp_path):
    picture, paper = tmp_path / "page.png", tmp_path / "page.pdf"
    chromium(tmp_path / "profile", "--window-size=900,1200", f"--screenshot={picture}", page_file.as_uri())
    assert len(set(pixels(picture))) > 20
    chromium(tmp_path / "profile", "--no-pdf-header-footer", f"--print-to-pdf={paper}", page_file.as_uri())
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", paper.read_bytes()))
    assert 3 <= pages <= 40


def pixels(picture: Path) -> list[bytes]:
    """Return the bytes of a PNG's rows; enough to tell a drawn page from an empty one."""
    content, at, data = picture.read_bytes(), 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            data += content[at + 8 : at + 8 + length]
        at += 12 + length
    raw = zlib.decompress(data)
    (height,) = struct.unpack(">I", content[20:24])
    stride = len(raw) // height
    return [raw[row * stride : (row + 1) * stride] for row in range(height)]


# Colours -----------------------------------------------------------------------------------------------------------


def palettes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", FILES.joinpath("page.css").read_text(), re.S)
    assert len(blocks) == 3
    return {
        name: dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for name, block in zip(("light", "dark", "print"), blocks, strict=True)
    }


def luminance(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_colours_can_be_told_apart(name):
    colours = palettes()[name]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for text in ("ink", "soft", "link", "good", "bad"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
    for text in ("ink", "soft"):
        assert contrast(colours[text], colours["panel"]) >= 4.5, text
    assert contrast(colours["ink"], colours["note"]) >= 4.5
    for series in ("s1", "s2", "s3", "s4"):
        assert contrast(colours[series], colours["panel"]) >= 3, series
