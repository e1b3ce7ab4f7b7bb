"""One SQL text for two engines, without Spark: every file becomes Spark's SQL; test_spark_build.py runs it."""

from __future__ import annotations

import re
import sys
from importlib import resources
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from propensity.errors import RuntimeMissingError, SettingsError
from propensity.features.attributes import attributes_sql
from propensity.features.labels import build_labels
from propensity.features.signal_files import SIGNAL_FILES
from propensity.features.snapshots import build_snapshots
from propensity.features.spark_sql import spark_statements
from propensity.settings import FeatureSettings
from tests.features.worlds import import_list, lake_files, midnight, new_home, shop

FEATURES = Path(str(resources.files("propensity.features")))
TEXTS = {str(file.relative_to(FEATURES)): file.read_text() for file in sorted(FEATURES.rglob("*.sql"))}
PARAMETERS = {"timezone": "America/New_York", "end": 1, "event_types": ["view", "it's"], "days": 30}


def one(text: str, **parameters) -> str:
    (statement,) = spark_statements(text, "text.sql", **parameters)
    return statement.query


def test_all_texts_are_here():
    assert {f"signals/{file.name}.sql" for file in SIGNAL_FILES} < TEXTS.keys()
    assert {"staging.sql", "history.sql", "labels.sql", "popularity.sql"} < TEXTS.keys()


@pytest.mark.parametrize("text", [*TEXTS.values(), attributes_sql([]), attributes_sql(["a.parquet"])])
def test_a_text_becomes_sql_that_spark_can_read(text):
    statements = spark_statements(text, "text.sql", **PARAMETERS)
    assert statements
    for statement in statements:
        (parsed,) = sqlglot.parse(statement.query, read="spark", error_level=sqlglot.ErrorLevel.RAISE)
        assert isinstance(parsed, exp.Query)
        # What else sqlglot has no name for in Spark's SQL is a function of DuckDB's.
        assert {function.name for function in parsed.find_all(exp.Anonymous)} <= {"WEEKDAY"}
        assert list(parsed.find_all(exp.Placeholder, exp.Parameter, exp.ReadParquet, exp.IntDiv)) == []
        assert "GETVARIABLE" not in statement.query.upper()


def test_tables_are_kept_and_views_are_not():
    found = {each.name: each.kept for each in spark_statements(TEXTS["history.sql"], "history.sql")}
    assert found == {
        "bucket_events": True, "history": False, "category_occasions": True, "category_history": False, "spine": True,
        "attribute_history": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("duckdb", "spark"),
    [
        ("SELECT a / b FROM t", "SELECT TRY_DIVIDE(a, b) FROM t"),
        ("SELECT a / (b / c) FROM t", "SELECT TRY_DIVIDE(a, (TRY_DIVIDE(b, c))) FROM t"),
        ("SELECT isodow(a) FROM t", "SELECT (WEEKDAY(a) + 1) FROM t"),
        ("SELECT epoch_us(a) FROM t ORDER BY a", "SELECT UNIX_MICROS(a) FROM t"),
        (
            "SELECT isodow(timezone('Europe/Berlin', a)) FROM t",
            "SELECT (WEEKDAY(FROM_UTC_TIMESTAMP(a, 'Europe/Berlin')) + 1) FROM t",
        ),
        (
            "SELECT list(a ORDER BY b) FILTER (a > 1) FROM t",
            (
                "SELECT TRANSFORM(ARRAY_SORT(COLLECT_LIST(NAMED_STRUCT('place', b, 'item', a))"
                " FILTER(WHERE a > 1)), pair -> pair.item) FROM t"
            ),
        ),
        (
            "SELECT max(a) OVER (w ROWS 2 PRECEDING), lag(b) OVER w FROM t WINDOW w AS (PARTITION BY c)",
            (
                "SELECT MAX(a) OVER (PARTITION BY c ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), "
                "LAG(b) OVER (PARTITION BY c) FROM t"
            ),
        ),
        ("SELECT a.* EXCLUDE (b) FROM a", "SELECT a.* EXCEPT (b) FROM a"),
        ("SELECT a FROM read_parquet($files)", "SELECT a FROM files"),
        ("SELECT a FROM t WHERE a BETWEEN getvariable('x') AND getvariable('y')", "SELECT a FROM t WHERE TRUE"),
        ("SELECT a FROM t WHERE b = $b", r"SELECT a FROM t WHERE b = 'it\'s \\ it'"),
    ],
)
def test_what_sqlglot_leaves_is_rewritten(duckdb, spark):
    assert one(duckdb, b="it's \\ it") == spark


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT snapshot FROM (history", "text.sql can't be put into Spark's SQL"),
        ("SELECT list(a ORDER BY b DESC) FROM t", "one rising column"),
        ("SELECT list(a ORDER BY b, c) FROM t", "one rising column"),
    ],
)
def test_a_text_that_has_no_words_in_spark_is_named_in_a_line(text, said):
    with pytest.raises(SettingsError, match=re.escape(said)) as raised:
        one(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("build", [build_snapshots, build_labels])
def test_without_spark_the_error_says_how_to_get_it(tmp_path, monkeypatch, build):
    home = new_home(tmp_path / "home", features=FeatureSettings(engine="spark"))
    as_of = midnight(2017, 10, 20)
    import_list(home, shop(as_of)[0])
    before = lake_files(home)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(RuntimeMissingError, match=r"make spark"):
        build(home, [as_of])
    assert lake_files(home) == before
