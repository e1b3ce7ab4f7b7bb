from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import threading

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from propensity.api import Platform
from propensity.errors import InputError
from propensity.warehouse import sql_views
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.sql_views import VIEWS, refresh_views, sql_connection
from tests import shop


@pytest.fixture(scope="module")
def platform(finished_home):
    return Platform(shop.settings_of(finished_home))


def published_rows(home, region="us"):
    """The scores' rows as the files have them, by customer; one run only."""
    (file,) = (home / "lake" / "category_propensity" / f"region={region}").glob("*/*/*.parquet")
    return {row["customer_id"]: row for row in pq.ParquetFile(file).read().to_pylist()}


def test_every_view_has_a_file_and_answers(platform):
    files = {path.stem for path in (shop.ROOT / "platform/propensity/warehouse/views").glob("*.sql")}
    assert files == set(VIEWS)
    for view in VIEWS:
        assert platform.sql(f"SELECT count(*) AS n FROM {view}")["n"][0] > 0, view


def test_propensity_is_what_the_files_hold(platform, finished_home):
    expected = published_rows(finished_home)
    assert len(expected) == shop.CUSTOMERS
    for view in ("propensity", "propensity_latest"):
        found = platform.sql(f"FROM {view}")
        assert len(found) == shop.CUSTOMERS
        for row in found.to_dict("records"):
            theirs = expected[row["customer_id"]]
            assert row["propensities"].tolist() == theirs["propensities"]
            assert row["event_timestamp"] == theirs["event_timestamp"]
            assert row["run_id"] == theirs["run_id"]


def test_propensity_long_has_every_pair_once_with_its_value(platform, finished_home):
    expected = published_rows(finished_home)
    names = platform.categories()
    order = platform.sql("SELECT category_index FROM model_categories ORDER BY position")["category_index"].tolist()
    found = platform.sql("FROM propensity_long")
    assert len(found) == shop.CUSTOMERS * len(shop.CATEGORIES)
    values = {(row.customer_id, row.category): row.propensity for row in found.itertuples()}
    assert values == {
        (customer, names[index]): np.float32(value)
        for customer, row in expected.items()
        for index, value in zip(order, row["propensities"], strict=True)
    }
    total = platform.sql("SELECT sum(propensity::DOUBLE) AS total FROM propensity_long")["total"][0]
    assert total == pytest.approx(sum(sum(row["propensities"]) for row in expected.values()), abs=1e-9)


def test_with_two_classes_propensity_by_event_is_propensity_long_with_the_one_event(platform):
    long, by_event = (platform.sql(f"FROM {view} ORDER BY ALL") for view in ("propensity_long", "propensity_by_event"))
    assert set(by_event.pop("event_type")) == {"purchase"}
    assert by_event[list(long)].equals(long)
    assert platform.sql("SELECT count(class_propensities) AS n FROM propensity")["n"][0] == 0


def test_top_categories_are_the_highest_of_propensity_long(platform):
    found = platform.sql("FROM top_categories ORDER BY customer_id, rank")
    assert found.groupby("customer_id")["rank"].apply(list).map(tuple).unique().tolist() == [(1, 2, 3, 4, 5)]
    pairs = platform.sql("FROM propensity_long").sort_values("propensity", ascending=False, kind="stable")
    for customer, mine in pairs.groupby("customer_id"):
        best = found[found["customer_id"] == customer]
        np.testing.assert_array_equal(best["propensity"], mine["propensity"].head(5))
        assert best["category"].iloc[0] in set(mine["category"][mine["propensity"] == mine["propensity"].max()])
        of_category = dict(zip(mine["category"], mine["propensity"], strict=True))
        assert [of_category[name] for name in best["category"]] == best["propensity"].tolist()


def test_events_labels_and_quarantine_agree_with_the_shop(platform, shop_directory):
    rows = shop.event_rows()
    assert platform.sql("SELECT count(*) AS n FROM events")["n"][0] == len(rows) - shop.BAD_ROWS
    assert platform.sql("SELECT reason FROM quarantine")["reason"].tolist() == ["no_quantity"] * shop.BAD_ROWS
    good = [row for row in rows if row["event_type"] == "purchase" and row["quantity"] > 0]
    (as_of, end), *_ = platform.sql("SELECT DISTINCT as_of, label_window_end FROM labels ORDER BY 1").values
    expected = {(row["customer_id"], row["category"]) for row in good if as_of <= row["event_timestamp"] < end}
    # Only those who were known before the as_of have a label.
    known = {row["customer_id"] for row in rows if row["event_timestamp"] < as_of}
    found = platform.sql(f"SELECT customer_id, category, class FROM labels WHERE as_of = '{as_of.isoformat()}'")
    assert set(found["class"]) == {1}
    assert {(row.customer_id, row.category) for row in found.itertuples()} == {
        pair for pair in expected if pair[0] in known
    }


def test_audience_is_propensity_long_in_order(platform):
    expected = platform.sql("FROM propensity_long WHERE category = 'WINE' ORDER BY propensity DESC, customer_id")
    found = platform.audience("WINE", 1000)
    assert found["customer_id"].tolist() == expected["customer_id"].tolist()
    assert found["propensity"].tolist() == expected["propensity"].tolist()
    some = platform.audience("WINE", 1000, minimum=0.5)
    assert some["customer_id"].tolist() == found["customer_id"][found["propensity"] >= 0.5].tolist()
    assert platform.audience("WINE", 3)["customer_id"].tolist() == found["customer_id"].head(3).tolist()
    assert platform.audience("WINE", 1000, event_type="purchase").equals(found)


def test_online_answers_are_top_categories(platform):
    for customer in (shop.customer_name(0), shop.customer_name(41)):
        rows = platform.sql(f"FROM top_categories WHERE customer_id = '{customer}' ORDER BY rank")
        online = platform.top(customer, 5)
        assert [entry.category for entry in online] == rows["category"].tolist()
        assert [entry.propensity for entry in online] == rows["propensity"].tolist()
        assert {entry.as_of for entry in online} == {platform.as_of(shop.AS_OF)}


def test_a_superseded_run_disappears_and_comes_back_as_a_new_one(home):
    platform = Platform(shop.settings_of(home))
    first = platform.score(shop.AS_OF)
    assert first.already_published
    smaller = Platform(shop.settings_of(home, top_k=3))
    second = smaller.score(shop.AS_OF)
    assert smaller.materialize(second)
    assert not second.already_published
    assert second.run.created_timestamp > first.run.created_timestamp
    assert set(platform.sql("SELECT DISTINCT run_id FROM propensity")["run_id"]) == {second.run.run_id}
    assert platform.sql("SELECT max(rank) AS n FROM top_categories")["n"][0] == 3
    assert len(platform.top(shop.customer_name(1), 5)) == 3

    # What was published first, asked for again, is the newest again: in SQL, in Feast and online.
    third = platform.score(shop.AS_OF)
    assert not third.already_published
    assert third.run.run_id not in {first.run.run_id, second.run.run_id}
    assert platform.materialize(third)
    assert platform.sql("SELECT max(rank) AS n FROM top_categories")["n"][0] == 5
    assert len(platform.top(shop.customer_name(1), 5)) == 5
    assert platform.score(shop.AS_OF).run.run_id == third.run.run_id
    everything = shop.rows_of(f"{home}/lake/category_propensity/*/*/*/*.parquet", "SELECT DISTINCT run_id")
    # The settings keep two publications; the first was replaced, and isn't online any more.
    assert {run_id for (run_id,) in everything} == {second.run.run_id, third.run.run_id}


def test_a_records_time_is_its_rows_time(platform, finished_home):
    ((run_id, created),) = platform.sql("SELECT run_id, created_timestamp FROM runs WHERE kind = 'scoring'").values
    rows = shop.rows_of(
        f"{finished_home}/lake/category_propensity/*/*/*/*.parquet", "SELECT DISTINCT run_id, created_timestamp"
    )
    assert rows == [(run_id, created.to_pydatetime())]


def test_plain_duckdb_in_the_home_directory_answers(home):
    code = textwrap.dedent("""
        import duckdb
        with duckdb.connect("warehouse.duckdb", read_only=True) as connection:
            for view in %r:
                assert connection.sql(f"SELECT count(*) FROM {view}").fetchone()[0] > 0, view
            print(connection.sql("SELECT count(*), round(sum(propensity), 6) FROM propensity_long").fetchone())
    """) % (list(VIEWS),)
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    total = Platform(shop.settings_of(home)).sql("SELECT count(*), round(sum(propensity), 6) FROM propensity_long")
    assert done.stdout.strip() == str(next(total.itertuples(index=False, name=None)))


def test_views_name_no_place(finished_home):
    settings = shop.settings_of(finished_home)
    with catalogue_session(settings) as session:
        raw = session.connection().connection.driver_connection
        definitions = dict(raw.execute("SELECT view_name, sql FROM duckdb_views() WHERE NOT internal").fetchall())
    assert set(definitions) == set(VIEWS)
    assert not [view for view, sql in definitions.items() if "'/" in sql or str(finished_home) in sql]


def test_views_are_defined_again_only_when_they_changed(home, monkeypatch):
    settings = shop.settings_of(home)
    before = settings.warehouse.stat().st_mtime_ns
    assert refresh_views(settings) == []
    assert settings.warehouse.stat().st_mtime_ns == before
    ours = sql_views._definition
    narrower = ours("events").replace("SELECT *", "SELECT region, customer_id")
    monkeypatch.setattr(sql_views, "_definition", lambda view: narrower if view == "events" else ours(view))
    assert refresh_views(settings) == list(VIEWS)
    with duckdb.connect(settings.warehouse) as connection:
        connection.execute(f"SET file_search_path = '{home}'")
        assert connection.sql("DESCRIBE events").fetchall()[1][0] == "customer_id"
        assert len(connection.sql("DESCRIBE events").fetchall()) == 2


def test_a_long_query_leaves_the_catalogue_to_others(home):
    settings = shop.settings_of(home, lock_timeout_seconds=0)
    finished = threading.Event()

    def long_query(connection):
        try:
            connection.execute("SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(1_000_000) b")
        except duckdb.InterruptException:
            finished.set()

    with sql_connection(settings) as connection:
        query = threading.Thread(target=long_query, args=(connection,))
        query.start()
        try:
            # Another process may even write.
            writing = f"import duckdb; duckdb.connect({str(settings.warehouse)!r}).execute('CREATE TABLE t (i INT)')"
            subprocess.run([sys.executable, "-c", writing], check=True)
            with catalogue_session(settings) as session:
                session.connection()
            assert query.is_alive()
        finally:
            connection.interrupt()
            query.join()
    assert finished.is_set()


@pytest.mark.parametrize(
    "query",
    ["INSERT INTO runs SELECT * FROM runs", "DROP TABLE runs", "DELETE FROM runs", "", "SELECT 1; SET threads=1"],
)
def test_what_would_be_lost_is_refused(platform, query):
    with pytest.raises(InputError, match="That is no query"):
        platform.sql(query)
    assert platform.sql("SELECT count(*) AS n FROM runs")["n"][0] > 0


@pytest.mark.parametrize(
    "query",
    ["SHOW TABLES", "DESCRIBE propensity", "EXPLAIN SELECT 1", "FROM regions", "CREATE TABLE t AS SELECT 1; FROM t"],
)
def test_what_answers_is_run(platform, query):
    assert len(platform.sql(query)) > 0


@pytest.fixture(scope="module")
def two_regions(finished_home, tmp_path_factory):
    """A home with a second region: fewer customers of the same names, other habits."""
    directory = tmp_path_factory.mktemp("two_regions")
    home = shutil.copytree(finished_home, directory / "home")
    other = Platform(shop.settings_of(home, region="uk", timezone="Europe/London"))
    other.import_events(str(shop.write_shop(directory / "shop", seed=2, customers=50) / "events.parquet"))
    other.run(shop.AS_OF)
    return home


def test_regions_share_tables_and_nothing_else(two_regions, platform):
    us = Platform(shop.settings_of(two_regions))
    uk = Platform(shop.settings_of(two_regions, region="uk", timezone="Europe/London"))
    counts = us.sql("SELECT region, count(*) AS n FROM propensity_latest GROUP BY region ORDER BY region")
    assert counts.values.tolist() == [["uk", 50], ["us", 80]]
    for view in ("propensity_long", "top_categories", "labels", "events"):
        assert us.sql(f"SELECT DISTINCT region FROM {view} ORDER BY 1")["region"].tolist() == ["uk", "us"], view
        mine = us.sql(f"SELECT * FROM {view} WHERE region = 'us' ORDER BY ALL")
        assert mine.equals(platform.sql(f"SELECT * FROM {view} ORDER BY ALL")), view
    assert len(us.sql("FROM propensity_long WHERE region = 'uk'")) == 50 * len(shop.CATEGORIES)
    assert len(us.audience("TEA", 1000)) == 80
    assert len(uk.audience("TEA", 1000)) == 50
    assert us.top("c001") == platform.top("c001")
    assert uk.top("c001") != us.top("c001")
    assert {entry.as_of.isoformat() for entry in uk.top("c001")} == {"2024-07-31T23:00:00+00:00"}
    assert {model.model_version for model in uk.models()}.isdisjoint(model.model_version for model in us.models())
    assert {path.name for path in (two_regions / "models").iterdir()} == {"uk", "us"}


def test_a_newer_as_of_is_the_latest_and_the_older_stays(home):
    platform = Platform(shop.settings_of(home))
    platform.build_features([shop.SOON_AFTER])
    platform.score(shop.SOON_AFTER)
    counts = platform.sql("SELECT event_timestamp AS t, count(*) AS n FROM propensity GROUP BY t ORDER BY t")
    assert counts["n"].tolist() == [shop.CUSTOMERS] * 2
    latest = platform.sql("SELECT DISTINCT event_timestamp AS t FROM propensity_latest")
    assert [t.to_pydatetime() for t in latest["t"]] == [platform.as_of(shop.SOON_AFTER)]
