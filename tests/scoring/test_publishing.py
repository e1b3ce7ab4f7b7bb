"""Several who publish, old publications that expire, and one that is published again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd
import pytest

from propensity import columns, consumers
from propensity.api import Platform
from propensity.errors import PublicationError, UnknownRunError, WarehouseLockedError
from propensity.scoring.expiring import expire, replaced
from propensity.scoring.republishing import republish
from propensity.scoring.service import score
from propensity.warehouse import publications
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.lake import Lake
from propensity.warehouse.region_lock import SCORING, alone_in_region
from propensity.warehouse.runs import RunRecord, list_runs
from tests import shop
from tests.scoring import child
from tests.scoring.published import AS_OF, ids, online


@pytest.fixture
def platform(thrice_published):
    return thrice_published


def states(platform) -> list[str]:
    return [run.state for run in list_runs(platform.settings, kind="scoring")]


def directories(platform) -> set[str]:
    return {path.name.removeprefix("run=") for path in platform.settings.lake.glob("category_propensity/*/*/*")}


def by_sql(platform) -> dict[str, list[float]]:
    rows = platform.sql("SELECT customer_id, top_propensities FROM propensity")
    return {customer: list(top) for customer, top in zip(rows["customer_id"], rows["top_propensities"], strict=True)}


def by_feast(platform) -> dict[str, list[float]]:
    frame = pd.DataFrame({"customer_id": [shop.customer_name(number) for number in range(shop.CUSTOMERS)]})
    found = platform.feature_store().get_historical_features(
        entity_df=frame.assign(event_timestamp=AS_OF), features=["category_propensity_top:top_propensities"]
    )
    rows = found.to_df()
    return {customer: list(top) for customer, top in zip(rows["customer_id"], rows["top_propensities"], strict=True)}


# One at a time ----------------------------------------------------------------------------------------------------


def test_two_scorings_at_once_publish_one_after_the_other(platform):
    code = "from propensity.scoring.service import score; print('here', flush=True); score(settings, as_of)"
    with alone_in_region(platform.settings, SCORING):
        both = [child.start(platform.home, code, top_k=top_k, lock_timeout_seconds=60) for top_k in (1, 2)]
        for process in both:
            assert process.stdout.readline() == "here\n"
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    known = list_runs(platform.settings, kind="scoring")
    assert [run.state for run in known] == ["published", "expired", "expired", "published", "published"]
    # Each knew of the other's publication: no two rows of a customer are equally old.
    assert known[-1].created_timestamp.replace(microsecond=0) > known[-2].created_timestamp.replace(microsecond=0)
    assert directories(platform) == {run.run_id for run in known if run.state == "published"}
    assert {len(top) for top in by_sql(platform).values()} <= {1, 2}
    assert by_sql(platform) == by_feast(platform)


def test_a_second_scoring_says_who_is_at_work_and_goes_on_when_that_was_killed(platform):
    code = """
    from propensity.warehouse.region_lock import SCORING, alone_in_region
    with alone_in_region(settings, SCORING):
        print("held", flush=True)
        sys.stdin.read()
    """
    impatient = platform.settings.model_copy(update={"lock_timeout_seconds": 0})
    with child.start(platform.home, code) as holder:
        assert holder.stdout.readline() == "held\n"
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        for work in (
            lambda: score(impatient, AS_OF),
            lambda: republish(impatient, ids(platform)[0]),
            lambda: expire(impatient, replaced(keep=1)),
        ):
            with pytest.raises(WarehouseLockedError, match=rf"scoring .* \(process {holder.pid}, since {day} .*Z\)"):
                work()
        assert expire(impatient, replaced(keep=1), dry_run=True).runs  # who only looks needn't wait
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert not score(impatient, AS_OF).already_published


# Expiry -----------------------------------------------------------------------------------------------------------


def test_the_settings_keep_what_a_rollback_needs(platform):
    first, second, third = ids(platform)
    assert states(platform) == ["published"] * 3  # the first is online
    assert directories(platform) == {first, second, third}
    result = platform.score(shop.AS_OF)
    assert [run.run_id for run in result.retention.runs] == [second]
    assert states(platform) == ["published", "expired", "published", "published"]
    assert directories(platform) == {first, third, result.run.run_id}
    assert platform.materialize(result)
    # Now the first isn't online any more, so it goes with the next publication, together with the third.
    other = Platform(shop.settings_of(platform.home, top_k=2)).score(shop.AS_OF)
    assert states(platform) == ["expired", "expired", "expired", "published", "published"]
    assert directories(platform) == {result.run.run_id, other.run.run_id}
    assert other.retention.bytes_freed > 1000


def test_age_takes_what_was_replaced_and_nothing_else(platform):
    first, second, third = ids(platform)
    strict = shop.settings_of(platform.home, top_k=3, retention={"max_age_days": 1e-9})
    assert [run.run_id for run in score(strict, AS_OF).retention.runs] == [second]
    assert directories(platform) == {first, third}
    assert platform.expire(older_than=timedelta(0), keep=1).runs == ()


def test_what_may_not_expire_is_named_and_nothing_changes(platform):
    first, second, third = ids(platform)
    for run_id, said in ((third, "is the newest of its as_of"), (first, "is online")):
        with pytest.raises(PublicationError, match=f"Run {run_id} {said}"):
            platform.expire([second, run_id])
    with pytest.raises(UnknownRunError, match="Did you mean"):
        platform.expire([second + "x"])
    assert states(platform) == ["published"] * 3
    planned = platform.expire([second], dry_run=True)
    assert states(platform) == ["published"] * 3
    assert directories(platform) == {first, second, third}
    assert platform.expire([second]) == planned
    assert platform.expire([second]).runs == ()  # again: nothing to do
    with pytest.raises(PublicationError, match=r"has expired\. Score again with its model: propensity score --as-of"):
        platform.republish(second)


MOMENTS = {
    "the catalogue has said so": ("os.rename", "run=", 1),
    "the run has left the lake": ("shutil.rmtree", ".staging", 1),
    "a file is deleted": ("os.remove", ".parquet", 1),
}


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=pytest.mark.slow if "left" in name else ()) for name in MOMENTS]
)
def test_an_expiry_that_was_killed_is_finished_by_the_next(platform, moment):
    first, second, third = ids(platform)
    before, feast = by_sql(platform), by_feast(platform)
    code, err = child.run(
        platform.home,
        "from propensity.scoring.expiring import expire, replaced; expire(settings, replaced(keep=1))",
        MOMENTS[moment],
    )
    assert code == -signal.SIGKILL, err
    assert states(platform) == ["published", "expired", "published"]
    # Its files are there whole, or not at all.
    whole = Lake(platform.settings.lake).files(columns.CATEGORY_PROPENSITY, "us", run_id=second)
    assert (second in directories(platform)) == bool(whole) == (moment == "the catalogue has said so")
    assert list(platform.settings.lake.glob(".staging/*"))
    assert by_sql(platform) == before == by_feast(platform) == feast
    assert score(shop.settings_of(platform.home, top_k=3), AS_OF).already_published
    assert directories(platform) == {first, third}
    assert not list(platform.settings.lake.glob(".staging/*"))
    assert by_sql(platform) == before == by_feast(platform)


def test_files_that_cant_be_deleted_keep_nothing_from_being_published(platform, monkeypatch):
    _, second, _ = ids(platform)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "remove_run", refuse)
        result = platform.score(shop.AS_OF)
    assert not result.already_published
    assert f"The files of run {second} can't be deleted" in result.retention.sentences[1]
    assert second in directories(platform)
    again = platform.expire()
    assert (again.runs, again.problems) == ((), ())
    assert again.bytes_freed > 0
    assert second not in directories(platform)


READER = """
    import json
    from pathlib import Path
    from propensity.consumers import run_sql
    from propensity.warehouse.publications import row_count
    query = "SELECT count(DISTINCT run_id), count(*), count(DISTINCT customer_id) FROM propensity"
    seen, reads = set(), 0
    while not (settings.home / "over").exists():
        seen.add(tuple(map(int, run_sql(settings, query).iloc[0])))
        for directory in settings.lake.glob("category_propensity/*/*/*"):
            try:
                rows = row_count(directory)
            except FileNotFoundError:
                continue
            if directory.exists():
                seen.add((1, rows, rows))
        reads += 1
        if reads == 1:
            print("reading", flush=True)
    print(json.dumps([sorted(seen), reads]))
"""


def test_readers_never_see_half_a_run(platform):
    with child.start(platform.home, READER, lock_timeout_seconds=60) as reader:
        assert reader.stdout.readline() == "reading\n"
        try:
            for top_k in (1, 2):
                other = shop.settings_of(
                    platform.home, top_k=top_k, retention={"runs_per_as_of": 1}, lock_timeout_seconds=60
                )
                score(other, AS_OF)
                republish(other, ids(platform)[0])
        finally:
            (platform.home / "over").touch()  # else the reader goes on
        out, err = reader.communicate()
    assert reader.returncode == 0, err
    seen, reads = json.loads(out)
    assert seen == [[1, shop.CUSTOMERS, shop.CUSTOMERS]]
    assert reads > 3
    assert len(directories(platform)) == 2  # the newest, and the one that is online


def test_a_query_is_asked_again_when_what_it_read_was_deleted(platform, monkeypatch):
    """Between the copy of the catalogue and the look for files; without asking again the answer is empty."""
    other = shop.settings_of(platform.home, top_k=1, retention={"runs_per_as_of": 1})
    asked, connection = [], consumers.sql_connection

    @contextlib.contextmanager
    def replaced_meanwhile(settings):
        with connection(settings) as opened:
            if not asked:
                score(other, AS_OF)
            asked.append(settings)
            yield opened

    monkeypatch.setattr(consumers, "sql_connection", replaced_meanwhile)
    assert {len(top) for top in by_sql(platform).values()} == {1}
    assert len(asked) == 2
    # Files that somebody has removed by hand are looked for once more, and then they are lost.
    for directory in platform.settings.lake.glob("category_propensity/*/*/*"):
        shutil.rmtree(directory)
    with pytest.raises(duckdb.CatalogException, match="propensity does not exist"):
        by_sql(platform)


# Again ------------------------------------------------------------------------------------------------------------


def content(platform, run_id: str) -> list[tuple]:
    directory = platform.settings.lake / "category_propensity"
    return shop.rows_of(
        f"{directory}/*/*/run={run_id}/*.parquet", "SELECT * EXCLUDE (run_id, created_timestamp)", order="customer_id"
    )


def test_a_run_published_again_is_the_newest_for_everybody(platform):
    first, second, third = ids(platform)
    assert {len(top) for top in by_sql(platform).values()} == {3}
    again = platform.republish(first)
    assert not again.already_newest
    newest = again.run
    assert newest.run_id not in (first, second, third)
    assert content(platform, newest.run_id) == content(platform, first)
    stamps = shop.rows_of(
        f"{publications.directory_of(platform.settings, newest)}/*.parquet",
        "SELECT DISTINCT created_timestamp, run_id",
    )
    assert stamps == [(newest.created_timestamp, newest.run_id)]
    assert newest.detail["republished_from"] == first
    assert {len(top) for top in by_sql(platform).values()} == {5}
    assert by_sql(platform) == by_feast(platform)
    # The same again, or of its copy: nothing to do. And the model that scored it finds it published.
    for run_id in (first, newest.run_id):
        assert platform.republish(run_id).already_newest
    assert platform.score(shop.AS_OF).already_published
    assert ids(platform)[-1] == newest.run_id
    # Online follows.
    assert platform.materialize(again)
    assert not platform.materialize(platform.republish(first))
    assert online(platform) == {customer: pytest.approx(top) for customer, top in by_sql(platform).items()}
    # And forward again.
    forward = platform.republish(third)
    assert {len(top) for top in by_sql(platform).values()} == {3}
    assert platform.materialize(forward)
    assert {len(top) for top in online(platform).values()} == {3}
    assert by_sql(platform) == by_feast(platform)


def test_a_republication_killed_before_it_was_recorded_is_recorded(platform):
    first = ids(platform)[0]
    run = platform.republish(first).run
    with catalogue_session(platform.settings) as session:
        session.connection().connection.driver_connection.execute("DELETE FROM runs WHERE run_id = ?", [run.run_id])
    again = platform.republish(first).run
    assert (again.run_id, again.created_timestamp) == (run.run_id, run.created_timestamp)


def test_a_killed_republication_leaves_nothing(platform):
    first = ids(platform)[0]
    before = by_sql(platform), directories(platform)
    code, err = child.run(
        platform.home,
        f"from propensity.scoring.republishing import republish; republish(settings, {first!r})",
        ("os.rename", "category_propensity", 1),
    )
    assert code == -signal.SIGKILL, err
    assert (by_sql(platform), directories(platform)) == before
    assert not platform.republish(first).already_newest
    assert not list(platform.settings.lake.glob(".staging/*"))


def test_what_cant_be_published_again_is_named(platform):
    first = ids(platform)[0]
    with pytest.raises(UnknownRunError, match=f"Unknown scoring run .* Did you mean '{first}'"):
        platform.republish(first + "0")
    (features,) = [run for run in platform.runs(kind="features") if run.as_of == AS_OF]
    with pytest.raises(UnknownRunError):
        platform.republish(features.run_id)
    for directory in platform.settings.lake.glob(f"category_propensity/*/*/run={first}"):
        shutil.rmtree(directory)
    with pytest.raises(PublicationError, match="has no files in"):
        platform.republish(first)


def test_a_run_whole(platform):
    first, second, third = (platform.run_details(run_id) for run_id in ids(platform))
    assert [details.is_newest for details in (first, second, third)] == [False, False, True]
    assert [details.is_online for details in (first, second, third)] == [True, False, False]
    (file,) = third.files
    assert file.rows == third.run.rows == shop.CUSTOMERS
    assert (platform.home / file.path).stat().st_size == file.bytes == third.bytes
    features = platform.run_details(platform.runs(kind="features")[0].run_id)
    assert len(features.files) == len(columns.FAMILIES) + 1  # and the popularity
    with pytest.raises(UnknownRunError, match="See: propensity runs list"):
        platform.run_details("nonesuch")


def test_newer_is_newer_to_the_second():
    stamp = datetime(2099, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    run = RunRecord("r", "us", "scoring", "published", AS_OF, 1, 0.0, stamp, {})
    assert publications.created_after(run) == datetime(2099, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert abs((publications.created_after(None) - datetime.now(UTC)).total_seconds()) < 60
