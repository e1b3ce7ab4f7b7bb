"""Feast's own commands and Python interface, as its documentation describes them, from another working directory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from propensity.api import Platform
from propensity.warehouse.catalogue_session import catalogue_session
from tests import shop

FEATURES = ["-f", "category_propensity_top:top_categories", "-f", "category_propensity_top:top_propensities"]
FIRST, SECOND = 1722484800, 1723089600
"""AS_OF and SOON_AFTER in New York, in seconds."""


def plain(project: Path, **options: str) -> dict[str, str]:
    """The environment of somebody who knows Feast and has only said where the checkout is."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PROPENSITY_")}
    return mine | {"PROPENSITY_PROJECT": str(project), "PYTHONWARNINGS": "ignore", "TZ": "UTC"} | options


@pytest.fixture(scope="module")
def read_only(finished_home, tmp_path_factory):
    """A checkout with the default home in it, of which AS_OF is online and SOON_AFTER published but not online."""
    project = tmp_path_factory.mktemp("by_hand") / "checkout"
    for name in ("feature_repo", "migrations"):
        shutil.copytree(shop.ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(finished_home, project / ".propensity")
    platform = Platform(shop.settings_of(project / ".propensity"))
    platform.build_features([shop.SOON_AFTER])
    platform.score(shop.SOON_AFTER)
    return project


@pytest.fixture
def project(read_only, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(read_only, tmp_path / "checkout")


def commands(project: Path, elsewhere: Path, *lines: list[str] | Path) -> list[str]:
    """Run Feast's command lines one after the other, in one process: its import takes seconds. Return their output.

    A path instead of a line is a file to be deleted at that point.
    """
    code = textwrap.dedent("""
        import json, os, sys
        from feast.cli.cli import cli
        for line in json.loads(sys.argv[1]):
            print("\\x00", end="", flush=True)
            os.unlink(line) if isinstance(line, str) else cli(line, standalone_mode=False)
    """)
    where = ["-c", str(project / "feature_repo")]
    arguments = [str(line) if isinstance(line, Path) else [*where, *line] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        cwd=elsewhere,
        env=plain(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split("\x00")[1:]


def python(project: Path, elsewhere: Path, code: str, **options: str) -> dict:
    """Run Python in a process of its own, with `store` opened as Feast's documentation says; return what it prints."""
    elsewhere.mkdir(exist_ok=True)
    opening = f"""
        import json, pandas as pd
        from feast import FeatureStore
        store = FeatureStore(repo_path={str(project / "feature_repo")!r})
        service = store.get_feature_service("propensity_serving_v1")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(opening) + textwrap.dedent(code)],
        cwd=elsewhere,
        env=plain(project, **options),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_the_commands_of_feasts_documentation(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    home = project / ".propensity"
    asking = ["get-online-features", "-e", "customer_id=c001", *FEATURES]
    until, since = "2024-08-02T00:00:00", "2024-07-31T00:00:00"
    listed, *outputs = commands(
        project,
        elsewhere,
        ["feature-views", "list"],
        asking,
        ["apply"],
        asking,
        home / "feast" / "online_store.db",
        ["apply"],
        asking,
        ["materialize", since, until, "--views", "category_propensity_top"],
        asking,
        ["materialize-incremental", "2024-08-08T05:00:00"],
        asking,
    )
    assert len(re.findall(r"^(customer_|category_)\w+", listed, re.MULTILINE)) == 7
    first, again, none, materialized, incremented = (json.loads(output) for output in outputs if output.startswith("{"))
    assert len(first["top_categories"][0]) == 5
    assert again == first  # applying again keeps what is online
    assert none["top_categories"] == [None]
    assert materialized == first
    assert incremented != first
    platform = Platform(shop.settings_of(home))
    expected = platform.sql("SELECT propensity FROM top_categories WHERE customer_id = 'c001' ORDER BY rank")
    assert incremented["top_propensities"][0] == pytest.approx(expected["propensity"].tolist())
    assert {entry.as_of.timestamp() for entry in platform.top("c001")} == {SECOND}
    assert list(elsewhere.iterdir()) == []


def test_feast_apply_as_a_command_of_its_own(project, tmp_path):
    shutil.rmtree(project / ".propensity" / "feast")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "feast"), "-c", str(project / "feature_repo"), "apply"],
        cwd=tmp_path,
        env=plain(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (project / ".propensity" / "feast").iterdir()} == {"registry.pb", "online_store.db"}
    platform = Platform(shop.settings_of(project / ".propensity"))
    assert {view.name for view in platform.feature_store().list_feature_views()} >= {"category_propensity_top"}


HISTORY = """
    asked = pd.DataFrame({
        "customer_id": ["c001", "c001", "c001", "c002", "nobody"],
        "event_timestamp": pd.to_datetime([
            "2024-07-31T23:59:59Z", "2024-08-01T04:00:00Z", "2024-08-08T04:00:00Z", "2024-12-01T00:00:00Z",
            "2024-08-05T00:00:00Z"])})
    found = store.get_historical_features(entity_df=asked, features=service).to_df()
    print(json.dumps({
        "instants": [stamp.timestamp() for stamp in found["event_timestamp"]],
        "customers": found["customer_id"].tolist(),
        "top": [None if top is None else [float(value) for value in top] for top in found["top_propensities"]],
        "online": store.get_online_features(
            features=service, entity_rows=[{"customer_id": "c001"}, {"customer_id": "nobody"}]
        ).to_dict(include_event_timestamps=True)}))
"""
ZONES = ["UTC", "America/New_York"]


@pytest.fixture(scope="module")
def answers(read_only, tmp_path_factory):
    """What Python says in each time zone."""
    return {zone: python(read_only, tmp_path_factory.mktemp("elsewhere"), HISTORY, TZ=zone) for zone in ZONES}


@pytest.mark.parametrize("zone", ZONES)
def test_python_gets_history_point_in_time(read_only, answers, zone):
    found = answers[zone]
    assert found["customers"] == ["c001", "c001", "c001", "c002", "nobody"]
    assert found["instants"][1:3] == [FIRST, SECOND]
    rows = Platform(shop.settings_of(read_only / ".propensity")).sql(
        "SELECT epoch(event_timestamp)::BIGINT AS t, top_propensities FROM propensity WHERE customer_id = 'c001'"
    )
    scores = dict(zip(rows["t"], (list(map(float, top)) for top in rows["top_propensities"]), strict=True))
    assert found["top"] == [None, scores[FIRST], scores[SECOND], None, None]  # c002's are older than the view's ttl


@pytest.mark.parametrize("zone", ZONES)
def test_python_gets_online_features(answers, zone):
    found = answers[zone]["online"]
    assert found["customer_id"] == ["c001", "nobody"]
    assert len(found["top_categories"][0]) == 5
    assert found["top_categories"][1] is None


@pytest.mark.parametrize(
    "zone",
    [
        "UTC",
        pytest.param(
            "America/New_York",
            marks=pytest.mark.xfail(reason="Feast's sqlite store reads event times as local time; run it under TZ=UTC"),
        ),
    ],
)
def test_python_gets_the_time_of_online_features(answers, zone):
    assert answers[zone]["online"]["top_categories__ts"] == [FIRST, 0]


def test_propensity_feast_works_on_any_home_and_region(home, tmp_path):
    done = shop.propensity(home, "feast", "apply", PROPENSITY_REGION="uk-north")
    assert done.returncode == 0, done.stderr
    assert "propensity_uk_north" in done.stdout
    us = Platform(shop.settings_of(home))
    uk = Platform(shop.settings_of(home, region="uk-north"))
    assert {project.name for project in uk.feature_store().list_projects()} == {"propensity_us", "propensity_uk_north"}
    (source,) = {view.batch_source.path for view in uk.feature_store().list_feature_views() if view.online}
    assert source == "lake/category_propensity/region=uk-north/*/*/*.parquet"
    # Its exit code is Feast's; the other region's data stay.
    assert shop.propensity(home, "feast", "feature-views", "describe", "nonesuch").returncode != 0
    assert us.top("c001")


def test_a_moved_home_keeps_working(finished_home, tmp_path):
    first = shutil.copytree(finished_home, tmp_path / "first")
    before = Platform(shop.settings_of(first))

    def answers_of(platform):
        long = platform.sql("FROM propensity_long ORDER BY ALL")
        return platform.top("c001"), platform.audience("WINE", 5).to_json(), long.to_json()

    expected = answers_of(before)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    second = Path(shutil.move(first, tmp_path / "deep" / "er" / "second [1]"))
    after = Platform(shop.settings_of(second))
    assert answers_of(after) == expected
    assert after.models()[0].artifact.is_relative_to(second)
    assert after.score(shop.AS_OF).already_published
    later = after.run(shop.SOON_AFTER)
    assert later.online
    assert {entry.as_of.timestamp() for entry in after.top("c001")} == {SECOND}

    # Nothing that was stored, here or there, names a place.
    names = {str(tmp_path).encode(), str(finished_home).encode(), str(shop.ROOT).encode()}
    patterns = ("feast/*", "models/*/**/*", "lake/*/**/*.parquet")
    files = [file for pattern in patterns for file in second.rglob(pattern) if file.is_file()]
    assert len(files) > 20
    assert {file.name for file in files if any(name in file.read_bytes() for name in names)} == set()
    with catalogue_session(after.settings) as session:
        raw = session.connection().connection.driver_connection
        views = raw.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall()
        artifacts = raw.execute("SELECT artifact FROM model_versions").fetchall()
    assert all("'/" not in sql for (sql,) in views)
    assert all(not Path(artifact).is_absolute() for (artifact,) in artifacts)
