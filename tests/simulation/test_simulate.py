"""`propensity simulate`: into the lake by the importer, once; truth beside it; the oracle in an evaluation."""

from __future__ import annotations

import json
import re
import shutil
import sys
from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import typer

from propensity import cli
from propensity.api import Platform
from propensity.errors import InputError, LookupFailedError, MissingSnapshotError, SettingsError
from propensity.simulation import service
from propensity.simulation.population import Population
from propensity.simulation.truth import oracle, truth_id
from propensity.warehouse.runs import list_runs
from tests import shop
from tests.conftest import built_once

AS_OF = "2023-07-20"
PARAMETERS = {"customers": 120, "categories": 12, "features": 40, "days": 240, "seed": 5, "purchases_per_day": 0.6}


@pytest.fixture(scope="session")
def simulated_home(shared_directory):
    """A home with a small simulated population and its truth of AS_OF. For reading: copy it to change it."""

    def build(home):
        platform = Platform(shop.settings_of(home))
        platform.simulate(**PARAMETERS)
        platform.simulated_truth(AS_OF)

    return built_once(shared_directory / "simulated", build)


@pytest.fixture
def platform(simulated_home):
    return Platform(shop.settings_of(simulated_home))


@pytest.fixture
def call(monkeypatch, capfd):
    """Run a command line in this process; return its exit code and messages."""

    def run(home, *arguments):
        for name, value in (shop.OPTIONS | {"PROPENSITY_HOME": str(home)}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["propensity", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, capfd.readouterr().err

    return run


def events_of(home):
    columns = "* EXCLUDE (run_id)"
    return duckdb.sql(
        f"SELECT {columns} FROM read_parquet('{home}/lake/events/*/*/*.parquet') ORDER BY ALL"
    ).to_arrow_table()


def test_nothing_is_set_aside(platform):
    (run,) = list_runs(platform.settings, kind="import")
    assert run.detail["quarantined"] == {}
    assert run.rows == events_of(platform.home).num_rows > 5000
    types = platform.sql("SELECT event_type, count(*) AS n FROM events GROUP BY ALL").set_index("event_type")["n"]
    assert set(types.index) == {"purchase", "campaign_received"}
    assert list(platform.categories())[:2] == ["CATEGORY 00000", "CATEGORY 00001"]
    (attributes,) = platform.home.glob("lake/customers/*/*/*.parquet")
    assert set(pq.read_table(attributes)["attribute"].to_pylist()) == {"age_band", "household_size"}


def test_same_twice_imports_nothing_new(home_to_change, monkeypatch):
    def generates(*_):
        raise AssertionError("what is there was generated again")

    monkeypatch.setattr(service, "events_of_chunk", generates)
    monkeypatch.setattr(service, "customers_of_chunk", generates)
    platform = Platform(shop.settings_of(home_to_change))
    before = [run.run_id for run in list_runs(platform.settings)]
    again = platform.simulate(**PARAMETERS)
    assert (again.new_events, again.events) == (0, events_of(home_to_change).num_rows)
    assert [run.run_id for run in list_runs(platform.settings)] == before
    stored = platform.simulated_truth(AS_OF)
    assert platform.simulated_truth(AS_OF) == stored


@pytest.fixture
def home_to_change(simulated_home, tmp_path):
    return shutil.copytree(simulated_home, tmp_path / "home")


def test_in_parts_it_is_the_same_and_goes_on_where_it_was_killed(simulated_home, tmp_path, monkeypatch):
    """Chunks of 30 customers, imported two at a time; the second import dies, the next call brings the rest."""
    monkeypatch.setattr(service.Population, "chunk_customers", 30)
    monkeypatch.setattr(service, "PART_EVENTS", 2 * 30 * 0.6 * 240)
    import_part, seen = service._import, []

    def dies(settings, staged, source_name):
        seen.append(source_name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return import_part(settings, staged, source_name)

    monkeypatch.setattr(service, "_import", dies)
    platform = Platform(shop.settings_of(tmp_path / "home"))
    with pytest.raises(KeyboardInterrupt):
        platform.simulate(**PARAMETERS)
    first = events_of(tmp_path / "home").num_rows
    result = platform.simulate(**PARAMETERS)
    assert len(seen) == 3
    assert 0 < first < result.events == first + result.new_events
    assert [name.rsplit("part ", 1)[1] for name in seen] == ["1 of 2", "2 of 2", "2 of 2"]
    assert not list((tmp_path / "home" / "lake" / ".staging").iterdir())
    # Divided otherwise, by a version with larger imports, the same chunks are known by their rows.
    monkeypatch.setattr(service, "PART_EVENTS", 4 * 30 * 0.6 * 240)
    again = platform.simulate(**PARAMETERS)
    assert (again.events, again.new_events) == (result.events, 0)
    assert events_of(tmp_path / "home").num_rows == result.events
    monkeypatch.undo()
    # Other chunks are other draws, so the rows differ; a seed fixes them for the same parameters:
    Platform(shop.settings_of(tmp_path / "other")).simulate(**PARAMETERS)
    assert events_of(tmp_path / "other").equals(events_of(simulated_home))


def test_truth_lies_beside_the_data(platform):
    stored = platform.simulated_truth(AS_OF)
    assert stored.directory.relative_to(platform.home).parts[:2] == ("lake", "simulated_truth")
    table = pq.read_table(stored.directory)
    known = platform.sql(
        "SELECT count(DISTINCT customer_id) AS n FROM events "
        f"WHERE event_type = 'purchase' AND event_timestamp < '{platform.as_of(AS_OF).isoformat()}'"
    )["n"][0]
    assert stored.customers == table.num_rows == known
    assert str(table.schema.field("propensities").type).replace("item", "element") == "list<element: float>"
    values = np.stack(table["propensities"].to_numpy())
    assert values.shape == (known, len(platform.categories()))
    assert stored.mean == pytest.approx(values.mean(), rel=1e-5)
    ids = np.array(table["customer_id"].to_pylist(), object)
    order = np.random.default_rng(0).permutation(known)[:20]
    assert oracle(platform.settings, platform.as_of(AS_OF), ids[order]) == pytest.approx(values[order])


def test_truth_is_in_the_order_of_category_index(home_to_change):
    """A category's index is when the platform met it, not its number."""
    platform = Platform(shop.settings_of(home_to_change))
    names = list(platform.categories())
    with duckdb.connect(str(home_to_change / "warehouse.duckdb")) as catalogue:
        catalogue.execute("CREATE TABLE saved AS SELECT * FROM categories")
        catalogue.execute("DELETE FROM categories")
        catalogue.execute(
            f"INSERT INTO categories SELECT * REPLACE ({len(names)} - 1 - category_index AS category_index) FROM saved"
        )
        catalogue.execute("DROP TABLE saved")
    before = truth_id(platform.settings, platform.as_of(AS_OF))
    assert before is None  # that of the other order isn't taken for it
    platform.simulated_truth(AS_OF)
    runs = sorted(home_to_change.glob("lake/simulated_truth/*/*/*"))
    assert len(runs) == 2
    tables = [np.stack(pq.read_table(run)["propensities"].to_numpy()) for run in runs]
    assert (tables[0] == tables[1][:, ::-1]).all()


def test_labels_in_the_lake_agree_with_the_truth(home_to_change):
    """Mean label and mean propensity differ by chance alone, on the platform's own labels."""
    platform = Platform(shop.settings_of(home_to_change))
    platform.build_labels([AS_OF])
    labels = duckdb.sql(
        "SELECT customer_id, label_categories "
        f"FROM read_parquet('{home_to_change}/lake/category_labels/*/*/*/*.parquet') ORDER BY 1"
    ).fetchall()
    truth = oracle(platform.settings, platform.as_of(AS_OF), np.array([row[0] for row in labels], object)).astype(float)
    dense = np.zeros(truth.shape)
    for row, (_, categories) in enumerate(labels):
        dense[row, categories] = 1
    assert abs((dense - truth).sum()) < 4 * np.sqrt((truth * (1 - truth)).sum())
    assert np.corrcoef(dense.ravel(), truth.ravel())[0, 1] > 0.3


def test_help_says_the_defaults():
    simulate = typer.main.get_command(cli.app).commands["simulate"]
    defaults = {name: value for name, value in vars(Population()).items() if not isinstance(value, bool)}
    said = {each.name: re.search(r"\[(.*)\]", each.help) for each in simulate.params if each.name in defaults}
    assert set(said) == set(defaults)  # every parameter has its flag
    for name, found in said.items():
        assert found, name
        assert found[1] == str(defaults[name]).removesuffix(".0"), name


BAD = [
    (["--customers", "0"], "--customers 0 is out of range. Give 1 to 99,999,999."),
    (["--features", "5"], "--features 5 is below --categories 100"),
    (["--start", "soon"], "--start 'soon' is no date"),
    (["--start", "2026-01-01", "--days", "3650"], "reach into the future"),
    (["--cold-start", "1.5"], "--cold-start 1.5 is out of range"),
    (["--region", "US!"], "Setting 'region'"),
    (["truth", "--as-of", AS_OF], "Create it: propensity migrate"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_flags_give_one_line(call, tmp_path, arguments, expected):
    code, err = call(tmp_path, "simulate", *arguments)
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err


def test_a_region_holds_one_population_and_nothing_else(home_to_change, imported_home, tmp_path):
    other = shutil.copytree(imported_home, tmp_path / "other")
    platform = Platform(shop.settings_of(home_to_change))
    with pytest.raises(InputError, match="other parameters"):
        platform.simulate(**PARAMETERS | {"seed": 6})
    with pytest.raises(InputError, match="true propensities would not be those"):
        Platform(shop.settings_of(other)).simulate(**PARAMETERS)
    assert not list(other.glob("lake/simulated_population/*/*/*"))
    with pytest.raises(LookupFailedError, match="holds no simulated population"):
        Platform(shop.settings_of(other)).simulated_truth(AS_OF)


def test_days_begin_where_they_began(simulated_home):
    elsewhere = Platform(shop.settings_of(simulated_home, timezone="Europe/Berlin"))
    for act in (lambda: elsewhere.simulate(**PARAMETERS), lambda: elsewhere.simulated_truth(AS_OF)):
        with pytest.raises(SettingsError, match="Set PROPENSITY_TIMEZONE=America/New_York"):
            act()


@pytest.mark.parametrize("as_of", ["2023-01-01", "2023-08-15", "2024-08-15"])
def test_truth_only_within_the_simulated_time(platform, as_of):
    with pytest.raises(SettingsError, match="isn't within the simulated time, 2023-01-01 to 2023-08-29"):
        platform.simulated_truth(as_of)


def test_the_oracle_wants_simulated_customers_and_stored_truth(platform):
    with pytest.raises(InputError, match="lack customer 'stranger'"):
        oracle(platform.settings, platform.as_of(AS_OF), np.array(["stranger"], object))
    with pytest.raises(MissingSnapshotError, match="propensity simulate truth --as-of 2023-07-21"):
        oracle(platform.settings, platform.as_of(date.fromisoformat(AS_OF) + timedelta(days=1)), np.array([], object))


def test_an_evaluation_shows_the_oracle_where_truth_is_stored(home, monkeypatch):
    """On the finished shop, with a truth made up: a run on simulated data is the slow test's."""
    platform = Platform(shop.settings_of(home))
    platform.build_labels([shop.AS_OF])
    assert platform.evaluate(shop.AS_OF).oracle is None

    def made_up(settings, as_of, customer_id):
        return np.full((len(customer_id), 1, len(shop.CATEGORIES)), 0.25, np.float32)

    monkeypatch.setattr("propensity.evaluation.service.truth_id", lambda *_: "truth-1")
    monkeypatch.setattr("propensity.evaluation.service.oracle_at_least", made_up)
    result = platform.evaluate(shop.AS_OF)
    density = result.check["label_density"]
    expected = -density * np.log(0.25) - (1 - density) * np.log(0.75)
    assert result.oracle.all.log_loss == pytest.approx(expected, rel=1e-6)
    assert platform.evaluate(shop.AS_OF).oracle == result.oracle
    assert "| oracle |" in result.report.read_text()
    figures = json.loads(result.report.with_suffix(".json").read_text())
    assert figures["oracle"]["all"]["log_loss"] == result.oracle.all.log_loss
    assert "oracle" not in figures["evaluations"]  # it is no rival


STEADY = {"customers": 4000, "categories": 50, "features": 300, "days": 785, "steady": True}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_net_comes_within_two_percent_of_the_oracle(tmp_path):
    """With the default training settings, where tastes are all there is and histories are long."""
    platform = Platform(home=tmp_path / "home")
    platform.simulate(**STEADY)
    as_of = "2025-01-20"
    platform.simulated_truth(as_of)
    platform.run(as_of)
    platform.build_labels([as_of])
    result = platform.evaluate(as_of)
    assert result.evaluations["net"].all.log_loss < 1.02 * result.oracle.all.log_loss
