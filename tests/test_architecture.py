from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.warehouse import schemas
from tests.shop import ROOT

PACKAGE = ROOT / "platform" / "propensity"
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = (
    {"cli"},
    {"commands", "demo"},
    {"api", "console"},
    {"pipeline", "consumers", "experiments", "reporting"},
    {"exports", "scoring", "evaluation", "baselines", "training"},
    {"models"},
    {"features", "simulation"},
    {"warehouse"},
    {"spark_archiving"},
    {"settings", "scoring_settings", "columns", "progress", "compiled", "spark_session", "spark_waiting"},
    {"arrow_numpy", "spark_classes"},
    {"errors"},
)
"""Rooms from top to bottom: a room imports from its own layer and from those below."""
APART = {"feast_duckdb", "feast_spark", "feast_sqlite"}
"""Feast's plugins: they import nothing of ours nor each other, and only feature_repo names them."""
LONGEST = 310

FRAMEWORKS = {
    "mxnet": "training/mxnet_runtime.py",
    "onnx": "exports/onnx_package.py",
    "onnxruntime": "exports/onnx_package.py",
    "polars": "scoring/whole_rows.py",
    "pyspark": "spark_session.py",
    "torch": None,
}
"""The one module that may import each; None: it isn't needed yet."""


def room_of(module: str) -> str:
    """`propensity.features.labels` is in the room `features`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "propensity"


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, *, types: bool) -> Iterator[str]:
    """Yield the full names a module imports, wherever in it; with `types` also what only type checkers import."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    if not types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            assert isinstance(node.args[0], ast.Constant), f"{path}: imports by a computed name"
            yield str(node.args[0].value)


@cache
def edges(*, types: bool = False) -> set[tuple[str, str]]:
    """Return (importing room, imported room)."""
    return {
        (room_of(name_of(path)), room_of(imported))
        for path in MODULES
        for imported in imports_of(path, types=types)
        if imported.startswith("propensity.") and name_of(path) != "propensity"
    }


def test_every_room_has_its_layer():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    listed = [room for layer in LAYERS for room in layer]
    assert sorted(listed) == sorted(rooms - APART)


@pytest.mark.parametrize("types", [False, True], ids=["at run time", "with types"])
def test_imports_point_one_way(types):
    height = {room: -number for number, layer in enumerate(LAYERS) for room in layer}
    found = edges(types=types)
    assert len(found) > 30  # the test would see nothing if the reading were broken
    wrong = {(a, b) for a, b in found if b not in APART and a not in APART and height[a] < height[b]}
    # A type that names a value of a room above is no dependence on its code.
    assert wrong - ({("models", "features")} if types else set()) == set()


def test_neighbours_in_a_layer_form_no_circle():
    for layer in LAYERS:
        graph = {room: {b for a, b in edges() if a == room and b in layer and b != a} for room in layer}
        tuple(TopologicalSorter(graph).static_order())


def test_scoring_needs_no_training():
    assert ("scoring", "training") not in edges()
    assert ("scoring", "evaluation") not in edges()


@pytest.mark.parametrize("plugin", sorted(APART))
def test_feasts_plugins_stand_alone(plugin):
    assert list((PACKAGE / plugin).rglob("*.py"))
    for path in (PACKAGE / plugin).rglob("*.py"):
        for imported in imports_of(path, types=True):
            assert not imported.startswith("propensity.") or imported.startswith(f"propensity.{plugin}"), path
    assert not {pair for pair in edges(types=True) if pair[1] == plugin and pair[0] != plugin}


def test_frameworks_have_one_door():
    for path in MODULES:
        name = str(path.relative_to(PACKAGE))
        for imported in imports_of(path, types=True):
            framework = imported.split(".")[0]
            assert FRAMEWORKS.get(framework, name) == name, f"{name} imports {imported}"
            if imported.startswith("propensity.training.mxnet_runtime"):
                assert name.startswith(("training/", "exports/mxnet_")), f"{name} imports MXNet's door"


def test_the_package_never_imports_the_repository():
    repository = {path.stem for path in (ROOT / "feature_repo").glob("*.py")}
    for path in MODULES:
        assert not {imported.split(".")[0] for imported in imports_of(path, types=True)} & repository
    for path in (ROOT / "feature_repo").glob("*.py"):
        ours = {imported for imported in imports_of(path, types=True) if imported.startswith("propensity")}
        assert all(room_of(imported) in ("columns", "settings", "feast_duckdb", "feast_spark") for imported in ours), (
            path
        )


def test_without_training_nothing_imports_mxnet():
    code = "import sys, propensity.api, propensity.cli; print('mxnet' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_only_what_scores_full_vectors_imports_polars():
    code = "import sys, propensity.api, propensity.cli, propensity.scoring.service; print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_source_root_is_no_package():
    assert not (PACKAGE.parent / "__init__.py").exists()
    code = "import platform; print(platform.python_version())"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("path", [*MODULES, *sorted(PACKAGE.rglob("*.sql"))], ids=lambda path: path.name)
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= LONGEST


def test_no_module_is_called_after_nothing():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core"}
    assert not {path.name for path in MODULES if path.stem in vague}


def test_every_module_says_what_it_is():
    texts = {path: path.read_text() for path in MODULES}
    silent = [path for path, text in texts.items() if text and not ast.get_docstring(ast.parse(text))]
    assert not silent


def test_sql_files_are_packaged():
    patterns = ast.literal_eval(
        next(
            line.split("=", 1)[1].strip()
            for line in (ROOT / "pyproject.toml").read_text().splitlines()
            if line.startswith("propensity = [")
        )
    )
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".py"}
    files = {path for path in files if "__pycache__" not in path.parts}  # Python's and numba's
    assert {path for pattern in patterns for path in PACKAGE.glob(pattern)} == files
    # A package's data files are only found in folders that are packages.
    assert not {path.parent.name for path in files if path.suffix == ".sql"} - {
        path.parent.name for path in files if _inside_a_package(path)
    }


def _inside_a_package(path: Path) -> bool:
    return any((folder / "__init__.py").exists() for folder in (path.parent, path.parent.parent))


# Names ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def views():
    """Feature views of feature_repo by name, with what their Parquet files' schema says."""
    code = """if True:
        import json, sys
        sys.path.insert(0, sys.argv[1])
        import feature_services, feature_views
        views = [*feature_views.sparse_views.values(), feature_views.category_labels,
                 feature_views.category_propensity, feature_views.top_categories]
        print(json.dumps({
            "views": {view.name: {
                "fields": {field.name: str(field.dtype) for field in view.schema},
                "entities": view.entities, "source": view.batch_source.name,
                "timestamp": view.batch_source.timestamp_field,
                "created": view.batch_source.created_timestamp_column} for view in views},
            "join_key": feature_views.customer.join_key,
            "services": [name for name in vars(feature_services) if name.startswith("propensity_")]}))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(ROOT / "feature_repo")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout.strip().splitlines()[-1])


TYPES = {
    "Array(Int32)": "list<element: int32>",
    "Array(Float32)": "list<element: float>",
    "String": "string",
    "UnixTimestamp": "timestamp[us, tz=UTC]",
}
SCHEMAS = {
    **{columns.feature_view(family): schemas.FEATURE_SCHEMA for family in columns.FAMILIES},
    columns.CATEGORY_LABELS: schemas.LABEL_SCHEMA,
    columns.CATEGORY_PROPENSITY: schemas.PROPENSITY_SCHEMA,
    columns.TOP_CATEGORIES_VIEW: schemas.PROPENSITY_SCHEMA,
}


def test_feasts_views_and_the_lakes_schemas_agree(views):
    assert views["views"].keys() == SCHEMAS.keys()
    assert views["join_key"] == columns.CUSTOMER_ID
    for name, view in views["views"].items():
        schema = SCHEMAS[name]
        assert view["entities"] == ["customer"]
        assert view["timestamp"] == columns.EVENT_TIMESTAMP
        assert view["created"] == columns.CREATED_TIMESTAMP
        for instant in (columns.EVENT_TIMESTAMP, columns.CREATED_TIMESTAMP):
            assert str(schema.field(instant).type) == "timestamp[us, tz=UTC]"
        for field, dtype in view["fields"].items():
            if field != columns.CUSTOMER_ID:
                assert str(schema.field(field).type).replace("item:", "element:") == TYPES[dtype], (name, field)


def test_feature_services_are_those_the_code_asks_for(views):
    assert set(views["services"]) == {
        columns.TRAINING_SERVICE, columns.LABEL_SERVICE, columns.SERVING_SERVICE, columns.FULL_SERVICE,
    }  # fmt: skip


def test_files_in_the_lake_have_the_schemas(finished_home):
    for name, schema in SCHEMAS.items():
        table = columns.CATEGORY_PROPENSITY if name == columns.TOP_CATEGORIES_VIEW else name
        files = list(finished_home.glob(f"lake/{table}/*/*/*/*.parquet"))
        assert files
        for file in files:
            found = pq.read_schema(file)
            assert found.names == schema.names
            assert [_element(kind) for kind in found.types] == [_element(kind) for kind in schema.types]


def _element(kind) -> str:
    return str(kind).replace("item:", "element:")
