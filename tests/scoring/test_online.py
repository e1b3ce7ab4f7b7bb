"""Runs going online: in chunks, on from where they stopped, and never over a newer one."""

from __future__ import annotations

import signal
import sqlite3
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from propensity.errors import PublicationError
from propensity.scoring import online as going_online
from propensity.scoring import online_chunks
from propensity.scoring.online import materialize
from propensity.scoring.online_chunks import Bookmark, Place, read_chunks
from propensity.warehouse.publications import directory_of, newest_online, publications
from propensity.warehouse.runs import find_run
from tests import shop
from tests.scoring import child
from tests.scoring.published import AS_OF, ids, online


@pytest.fixture
def platform(thrice_published):
    return thrice_published


# Chunks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """1,000 numbered rows in three files of uneven row groups, one of them without rows."""
    directory = tmp_path_factory.mktemp("files")
    numbers = np.arange(1000)
    rng = np.random.default_rng(3)
    for name, part, group in (("a", numbers[:430], 100), ("b", numbers[:0], 10), ("c", numbers[430:], 64)):
        lists = [rng.random(int(length)).tolist() for length in rng.integers(0, 9, len(part))]
        table = pa.table({"n": pa.array(part, pa.int64()), "values": pa.array(lists, pa.list_(pa.float64()))})
        pq.write_table(table, directory / f"{name}.parquet", row_group_size=group)
    return directory


@pytest.mark.parametrize("most_rows", [1, 7, 100, 5000])
def test_chunks_hold_every_row_once_from_any_place(files, most_rows):
    chunks = list(read_chunks(files, ["n"], most_rows))
    assert [n for batch, _ in chunks for n in batch.column(0).to_pylist()] == list(range(1000))
    assert max(batch.num_rows for batch, _ in chunks) <= most_rows
    assert [place.done for _, place in chunks] == list(np.cumsum([batch.num_rows for batch, _ in chunks]))
    for _, place in chunks[:: max(1, len(chunks) // 20)]:
        for other in (3, 50):
            rest = [n for batch, _ in read_chunks(files, ["n"], other, place) for n in batch.column(0).to_pylist()]
            assert rest == list(range(place.done, 1000))


def test_wide_rows_make_small_chunks(files, monkeypatch):
    monkeypatch.setattr(online_chunks, "MOST_VALUES", 100)
    chunks = list(read_chunks(files, ["values", "n"], 10_000))
    assert sum(batch.num_rows for batch, _ in chunks) == 1000
    values = [len(batch.column("values").flatten()) + batch.num_rows for batch, _ in chunks]
    assert np.mean(values) < 110
    monkeypatch.setattr(online_chunks, "MOST_VALUES", 1)
    assert {batch.num_rows for batch, _ in read_chunks(files, ["values"], 10_000)} == {1}


def test_a_file_without_the_columns_is_named(files):
    with pytest.raises(KeyError, match=r"a\.parquet lacks class_propensities"):
        next(read_chunks(files, ["n", "class_propensities"], 10))


def test_a_bookmark_that_says_nothing_begins_at_the_beginning(tmp_path):
    bookmark = Bookmark(tmp_path / "deep" / "b.json")
    assert bookmark.read() is None
    bookmark.keep(Place("part-0.parquet", 7, 70))
    assert bookmark.read() == Place("part-0.parquet", 7, 70)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["b.json"]
    for text in ("", "{}", "[1]", '{"file": 1'):
        (tmp_path / "deep" / "b.json").write_text(text)
        assert bookmark.read() is None


# Runs -------------------------------------------------------------------------------------------------------------


def table(platform) -> list[tuple]:
    """The online store's rows as they lie there."""
    with sqlite3.connect(platform.home / "feast" / "online_store.db") as connection:
        return connection.execute(
            'SELECT * FROM "propensity_us_category_propensity_top" ORDER BY entity_key, feature_name'
        ).fetchall()


def lengths(platform) -> set[int]:
    return {len(top) for top in online(platform).values()}


def put_online(run_id: str) -> str:
    """The code of a process that puts a run online in chunks of a few customers."""
    return f"""
    from propensity.scoring import online, online_chunks
    from propensity.warehouse.runs import find_run
    online_chunks.MOST_VALUES = 150
    run = find_run(settings, {run_id!r})
    """


def test_killed_between_chunks_it_goes_on_there(platform):
    newest = ids(platform)[-1]
    code, err = child.run(
        platform.home, put_online(newest) + "online.materialize(settings, run)", ("os.rename", "going_online", 3)
    )
    assert code == -signal.SIGKILL, err
    assert lengths(platform) == {5, 3}  # some are new, each whole
    (bookmark,) = (platform.home / "feast" / "going_online").glob("*.json")
    place = Bookmark(bookmark).read()
    assert 0 < place.done < sum(len(top) == 3 for top in online(platform).values()) < shop.CUSTOMERS
    reported = []
    run = find_run(platform.settings, newest)
    assert not run.detail.get("online")
    assert materialize(platform.settings, run, lambda *args: reported.append(args))
    assert reported == [("online", shop.CUSTOMERS, shop.CUSTOMERS)]
    assert lengths(platform) == {3}
    assert not list((platform.home / "feast" / "going_online").iterdir())
    assert newest_online(publications(platform.settings)).run_id == newest
    # Feast's own materialization finds nothing to change, to the last byte.
    before = table(platform)
    platform.feature_store().materialize(
        AS_OF - timedelta(seconds=1), AS_OF + timedelta(seconds=1), feature_views=["category_propensity_top"]
    )
    assert table(platform) == before
    assert len(before) == 3 * shop.CUSTOMERS


def test_it_begins_anew_where_the_store_was_emptied_meanwhile(platform):
    newest = find_run(platform.settings, ids(platform)[-1])
    place = Place("part-0.parquet", 40, 40)
    (file,) = directory_of(platform.settings, newest).glob("*.parquet")
    Bookmark(platform.home / "feast" / "going_online" / f"{newest.run_id}.category_propensity_top.json").keep(
        Place(file.name, place.rows, place.done)
    )
    assert materialize(platform.settings, newest)
    assert lengths(platform) == {3}


def test_an_older_run_never_overwrites_a_newer_one_that_overtook_it(platform):
    _, second, third = ids(platform)
    code = (
        put_online(second)
        + """
    def report(step, done, total):
        print(done, flush=True)
        sys.stdin.readline()
    print(online.materialize(settings, run, report), flush=True)
    """
    )
    with child.start(platform.home, code) as older:
        assert 0 < int(older.stdout.readline()) < shop.CUSTOMERS  # its first chunk is written
        assert lengths(platform) == {5, 4}
        assert materialize(platform.settings, find_run(platform.settings, third))
        assert lengths(platform) == {3}
        said, err = older.communicate("\n" * shop.CUSTOMERS)
    assert older.returncode == 0, err
    *_, done, put = said.split()
    assert (int(done), put) == (shop.CUSTOMERS, "False")  # it went on to its end, and nothing of it stayed
    assert lengths(platform) == {3}
    assert newest_online(publications(platform.settings)).run_id == third
    assert not materialize(platform.settings, find_run(platform.settings, second))


@pytest.mark.slow
def test_two_at_once_put_one_run_online(platform):
    newest = ids(platform)[-1]
    code = put_online(newest) + "print(online.materialize(settings, run))"
    both = [child.start(platform.home, code, lock_timeout_seconds=60) for _ in range(2)]
    said = []
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        said.append(out.strip())
    assert "True" in said
    assert lengths(platform) == {3}
    assert not materialize(platform.settings, find_run(platform.settings, newest))


def test_a_run_whose_files_are_not_whole_does_not_go_online(platform, monkeypatch):
    newest = find_run(platform.settings, ids(platform)[-1])
    directory = directory_of(platform.settings, newest)
    (file,) = directory.glob("*.parquet")
    whole = pq.read_table(file, partitioning=None)
    pq.write_table(whole.slice(0, 30), file)
    with pytest.raises(PublicationError, match=r"can't go online whole: 80 rows were published, and .* has 30 rows"):
        materialize(platform.settings, newest)
    file.unlink()
    with pytest.raises(PublicationError, match="has 0 rows"):
        materialize(platform.settings, newest)
    assert newest_online(publications(platform.settings)).run_id == ids(platform)[0]
    # One that has expired as it was being read isn't an error: a newer one is there.
    second = find_run(platform.settings, ids(platform)[1])
    is_due = going_online._is_due

    def expire_then(*arguments):
        due = is_due(*arguments)
        platform.expire([second.run_id])
        return due

    monkeypatch.setattr(going_online, "_is_due", expire_then)
    assert not materialize(platform.settings, second)
