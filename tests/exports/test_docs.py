"""docs/exports.md names inputs and outputs as an export's signature has them, in tables and in the Scala snippet."""

from __future__ import annotations

import re

import pytest

from propensity.exports.service import FORMATS
from propensity.exports.signature import Tensor, output_tensors
from tests.exports.many_models import model_of
from tests.shop import ROOT
from tests.training.planted import N_CATEGORIES

PAGE = (ROOT / "docs" / "exports.md").read_text()
SCALA = re.search(r"^```scala\n(.*?)^```$", PAGE, re.M | re.S)[1]
MODEL = model_of(3, "category_aligned", 2, cross=True)
INPUTS = {name: module().inputs(MODEL) for name, module in FORMATS.items()}
OUTPUTS = output_tensors(N_CATEGORIES, MODEL.n_classes)
SIZES = {
    "categories": N_CATEGORIES,
    "(K − 2) categories": (MODEL.n_classes - 2) * N_CATEGORIES,
    "categories · cross_signals": N_CATEGORIES * len(MODEL.encoder.cross_signals),
    "columns": MODEL.encoder.n_columns,
    "aligned_signals": len(MODEL.encoder.aligned_signals),
    "customer_signals": len(MODEL.encoder.customer_signals),
}
"""What the page's words for sizes mean for MODEL."""


def shape_of(text: str) -> tuple[int | str, ...]:
    return tuple(SIZES.get(size.strip(), size.strip()) for size in text.split(","))


def table(heading: str, after: str) -> list[tuple[str, str, tuple[int | str, ...], str]]:
    """Rows of the first table under a section whose first column is called `heading`: name, dtype, shape, rest."""
    section = PAGE.split(f"\n## {after}\n", 1)[1]
    body = section.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| \((.*?)\) \| (.*?) \|$", body, re.M)
    return [(name, dtype, shape_of(shape), rest) for name, dtype, shape, rest in rows]


def described(tensors: tuple[Tensor, ...]) -> list[tuple[str, str, tuple[int | str, ...]]]:
    return [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]


@pytest.mark.parametrize(("heading", "section"), [("input", "ONNX"), ("output", "ONNX"), ("input", "MXNet")])
def test_the_tables_are_the_signatures(heading, section):
    expected = OUTPUTS if heading == "output" else INPUTS[section.lower()]
    found = table(heading, section)
    assert [row[:3] for row in found] == described(expected)
    if section == "MXNet":
        assert [row[3] for row in found] == [tensor.storage for tensor in expected]


def test_the_snippet_gives_what_the_graph_reads_and_takes_what_it_answers():
    given = re.findall(
        r'named\("(\w+)", manager\.create\((\w+), new Shape\(\2\.length\)\)\),? +// (\w+) \((.*)\)$', SCALA, re.M
    )
    assert [(name, dtype, shape_of(shape)) for name, _, dtype, shape in given] == described(INPUTS["onnx"])
    arrays = dict(re.findall(r"(\w+): Array\[(Long|Float)\]", SCALA))
    kinds = {"Long": "int64", "Float": "float32"}
    assert [(name, kinds[arrays[variable]]) for name, variable, _, _ in given] == [
        (tensor.name, tensor.dtype) for tensor in INPUTS["onnx"]
    ]
    (taken,) = re.findall(r'list\.get\("(\w+)"\)\.toFloatArray +// (\w+) \((.*)\)$', SCALA, re.M)
    assert (taken[0], taken[1], shape_of(taken[2])) == described(OUTPUTS)[0]


def test_the_snippet_opens_the_file_that_is_written():
    (name,) = set(re.findall(r'optModelName\("(\w+)"\)', PAGE))
    assert f"`{name}.onnx`" in PAGE
    assert f"`{name}-symbol.json`, `{name}-0000.params`" in PAGE
    modules = {key: module() for key, module in FORMATS.items()}
    assert f"{name}.onnx" == modules["onnx"].GRAPH
    assert (f"{name}-symbol.json", f"{name}-0000.params") == (modules["mxnet"].SYMBOL, modules["mxnet"].PARAMETERS)
