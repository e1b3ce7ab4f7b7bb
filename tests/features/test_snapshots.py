"""The builder: work is done once, whole or not at all, and the same however it was divided."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

import pyarrow.parquet as pq
import pytest

from propensity import columns
from propensity.errors import MissingSnapshotError, SettingsError, UnknownRegionError, WarehouseError
from propensity.features import signal_files, snapshot_reader, snapshots
from propensity.features.dictionary_store import load_dictionary
from propensity.features.labels import build_labels, find_labels
from propensity.features.signal_files import SIGNAL_FILES, SignalFile
from propensity.features.snapshot_files import SnapshotFiles
from propensity.features.snapshot_reader import read_snapshot, snapshot_files, snapshot_rows
from propensity.features.snapshots import build_snapshots, find_snapshot
from propensity.settings import LabelSettings
from propensity.warehouse.categories import load_categories
from propensity.warehouse.lake import Lake

from .worlds import (
    Attribute,
    Event,
    import_attribute_list,
    import_list,
    lake_files,
    midnight,
    new_home,
    read_contents,
    read_labels,
    shop,
)

DAY = timedelta(days=1)
AS_OF = midnight(2017, 10, 20)
AS_OFS = [AS_OF - 21 * DAY, AS_OF - 7 * DAY, AS_OF]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    settings = new_home(tmp_path_factory.mktemp("imported") / "home")
    events, attributes = shop(AS_OF)
    import_list(settings, events)
    import_attribute_list(settings, attributes)
    return settings


@pytest.fixture
def home(imported, tmp_path):
    """The shop in a home of the test's own."""
    shutil.copytree(imported.home, tmp_path / "home")
    return imported.model_copy(update={"home": tmp_path / "home"})


@pytest.fixture(scope="module")
def built(imported, tmp_path_factory):
    """The shop with AS_OFS built together; not to be changed."""
    directory = tmp_path_factory.mktemp("built") / "home"
    shutil.copytree(imported.home, directory)
    settings = imported.model_copy(update={"home": directory})
    return settings, build_snapshots(settings, AS_OFS)


def contents(settings, as_ofs=AS_OFS):
    return [read_contents(settings, find_snapshot(settings, as_of)) for as_of in as_ofs]


def lists(settings, as_ofs=AS_OFS):
    """The files' rows, bit by bit, but for when they were made."""
    lake = Lake(settings.lake)
    tables = []
    for as_of in as_ofs:
        for table in snapshots.TABLES:
            directory = lake.run_directory(table, settings.region, find_snapshot(settings, as_of).run_id, as_of)
            tables.append(pq.read_table(directory, partitioning=None).drop([columns.CREATED_TIMESTAMP]))
    return tables


def test_what_is_finished_is_not_done_again(home):
    first, labels = build_snapshots(home, AS_OFS), build_labels(home, AS_OFS)
    files, dictionary = lake_files(home), list(load_dictionary(home).key)
    assert build_snapshots(home, [AS_OFS[2], AS_OFS[0], AS_OFS[1], AS_OFS[0]]) == first
    assert build_labels(home, AS_OFS) == labels
    # Events from the as_of on and attributes dated later are news, but not of these snapshots.
    import_list(home, [Event("new", AS_OF, category="NEW")], "tomorrow")
    import_attribute_list(home, [Attribute("a", "age", "31", AS_OF + DAY)], "tomorrow's attributes")
    unchanged = lake_files(home)
    assert build_snapshots(home, AS_OFS) == first
    assert lake_files(home) == unchanged
    assert unchanged.items() >= files.items()
    assert list(load_dictionary(home).key) == dictionary


def test_two_builds_are_equal_bit_by_bit(built, home, monkeypatch):
    settings, _ = built
    monkeypatch.setattr(snapshots, "EXPANDED_ROWS_PER_BUCKET", 150)  # customers by the handful
    found = build_snapshots(home, AS_OFS)
    for one, other in zip(lists(settings), lists(home), strict=True):
        assert one.equals(other)
    for snapshot in found:  # buckets leave no trace: their rows share a row group
        for family in columns.FAMILIES:
            (file,) = snapshot_files(home, snapshot, columns.feature_view(family))
            assert pq.read_metadata(file).num_row_groups == 1


def test_one_by_one_and_in_small_groups_equals_at_once(built, home, monkeypatch):
    settings, _ = built
    build_snapshots(home, AS_OFS[1:2])
    monkeypatch.setattr(snapshots, "AS_OFS_TOGETHER", 1)
    progress = []
    build_snapshots(home, AS_OFS, lambda *report: progress.append(report))
    assert contents(home) == contents(settings)
    done = [count for _, count, _ in progress]
    assert done == sorted(done)
    assert progress[-1] == ("features", 200, 200)


@pytest.mark.parametrize("dies_in", ["write_family", "count_popularity", "_write_popularity", "__exit__"])
def test_a_build_that_dies_leaves_nothing(home, monkeypatch, dies_in):
    build_snapshots(home, AS_OFS[:1])
    before = lake_files(home)
    calls = []

    def die(self, *arguments):
        calls.append(dies_in)
        if dies_in != "write_family" or len(calls) > 2:
            raise KeyboardInterrupt
        return real(self, *arguments)

    if dies_in == "__exit__":  # in the last moment: the files are complete, and begin to appear
        real_new_run, published = Lake.new_run, []

        def new_run(self, table, *arguments):
            published.append(table)
            if len(published) == 8:
                raise KeyboardInterrupt
            return real_new_run(self, table, *arguments)

        monkeypatch.setattr(Lake, "new_run", new_run)
    else:
        real = getattr(SnapshotFiles, dies_in)
        monkeypatch.setattr(SnapshotFiles, dies_in, die)
    with pytest.raises(KeyboardInterrupt):
        build_snapshots(home, AS_OFS)
    assert lake_files(home) == before
    with pytest.raises(MissingSnapshotError):
        find_snapshot(home, AS_OF)


def test_a_build_killed_while_its_files_appear_is_finished_by_another(built, home, monkeypatch):
    """Some tables have the run, some don't, and the second build divides the customers otherwise."""
    settings, _ = built
    monkeypatch.setattr(snapshots, "EXPANDED_ROWS_PER_BUCKET", 150)
    recorded = monkeypatch.context()
    with recorded as patch:

        def die(*arguments):
            raise KeyboardInterrupt

        patch.setattr(snapshots, "_record", die)
        with pytest.raises(KeyboardInterrupt):
            build_snapshots(home, AS_OFS)
    for table in (columns.feature_view("purchases"), columns.CATEGORY_POPULARITY):
        for directory in (home.lake / table).glob("region=us/as_of=*"):
            shutil.rmtree(directory)
    monkeypatch.setattr(snapshots, "EXPANDED_ROWS_PER_BUCKET", 10**7)
    build_snapshots(home, AS_OFS)
    assert contents(home) == contents(settings)
    for as_of in AS_OFS:  # the families' rows still stand side by side
        assert sum(batch.num_rows for batch in read_snapshot(home, find_snapshot(home, as_of), batch_rows=2)) == 6


def test_the_dictionary_only_grows(home):
    build_snapshots(home, [AS_OF - 28 * DAY])
    before = load_dictionary(home)
    import_list(
        home,
        [
            Event("a", AS_OF - DAY, category="AAA", product_type="AAA", brand="AAA"),
            Event("a", AS_OF - DAY, "coupon_redemption", campaign_type="Type A"),
        ],
        "news",
    )
    build_snapshots(home, AS_OFS)
    after = load_dictionary(home)
    assert len(after) > len(before) > 50
    assert set(after.key) - set(before.key) == {"AAA"}
    assert "AAA" in load_categories(home).names
    for name in ("family", "signal", "key", "category_index"):
        assert list(getattr(after, name)[: len(before)]) == list(getattr(before, name))
    assert len(set(zip(after.signal, after.key, strict=True))) == len(after)


def with_signal(monkeypatch, directory, sql, **line):
    """Put one more file beside the platform's."""
    shutil.copytree(signal_files.SIGNALS, directory)
    (directory / "more.sql").write_text(sql)
    monkeypatch.setattr(signal_files, "SIGNALS", directory)
    given = {"family": "products", "key_kind": "weekday"} | line
    monkeypatch.setattr(snapshots, "SIGNAL_FILES", (*SIGNAL_FILES, SignalFile("more", **given)))


WEEKDAYS = """
SELECT snapshot, customer_id, local_weekday::VARCHAR AS key, count(*) AS weekday_365d
FROM history WHERE event_type = 'purchase' AND age_days < 365 GROUP BY ALL
"""


def test_a_new_signal_file_adds_features_and_leaves_the_others(built, tmp_path, monkeypatch):
    shutil.copytree(built[0].home, tmp_path / "home")
    home = built[0].model_copy(update={"home": tmp_path / "home"})
    before, old = load_dictionary(home), contents(home)
    with_signal(monkeypatch, tmp_path / "signals", WEEKDAYS)
    rebuilt = build_snapshots(home, AS_OFS)
    assert not {snapshot.run_id for snapshot in rebuilt} & {snapshot.run_id for snapshot in built[1]}
    after, new = load_dictionary(home), contents(home)
    assert list(after.signal[: len(before)]) == list(before.signal)
    assert list(after.key[: len(before)]) == list(before.key)
    assert set(after.signal[len(before) :]) == {"weekday_365d"}
    assert set(after.key[len(before) :]) == set("1234567")
    for one, other in zip(old, new, strict=True):
        assert {k: v for k, v in other.features.items() if k[1] != "weekday_365d"} == one.features
        assert len(other.features) > len(one.features)


@pytest.mark.parametrize(
    ("sql", "line", "said"),
    [
        ("SELECT nonsense FROM history", {}, "signals/more.sql: Binder Error"),
        ("SELECT snapshot, customer_id, brand AS key FROM history", {}, "one column per signal"),
        (WEEKDAYS.replace("weekday_365d", "brand_90d"), {}, "signals/brands.sql both give"),
        (WEEKDAYS, {"category_aligned": True}, "is no category of region 'us'"),
        (WEEKDAYS, {"family": "product"}, "Did you mean 'products'?"),
    ],
)
def test_a_signal_file_that_cannot_be_used_is_named(home, tmp_path, monkeypatch, sql, line, said):
    with_signal(monkeypatch, tmp_path / "signals", sql, **line)
    before = lake_files(home)
    with pytest.raises(SettingsError, match=r"more|brands") as raised:
        build_snapshots(home, AS_OFS)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert lake_files(home) == before


def test_a_signal_file_that_is_not_there_is_named(home, monkeypatch):
    monkeypatch.setattr(snapshots, "SIGNAL_FILES", (SignalFile("brand", "products", "brand"),))
    with pytest.raises(SettingsError, match="Did you mean 'brands'"):
        build_snapshots(home, AS_OFS)


def test_a_value_beyond_float32_is_left_out(home):
    import_list(home, [Event("huge", AS_OF - DAY, category="BREAD", quantity=1e300, value=2)], "huge")
    build_snapshots(home, AS_OFS[2:])
    features = read_contents(home, find_snapshot(home, AS_OF)).features
    assert features["huge", "spend_90d", "BREAD"] == 2
    assert ("huge", "quantity_90d", "BREAD") not in features


def test_an_average_in_the_middle_of_two_decimals_is_rounded_one_way(home):
    """The order of summing decides the last bits of a sum; they must not decide which way 104.73125 goes."""
    cents = [4403, 18652, 2068, 8359, 3864, 16235, 14729, 15475]
    values = [cent / 100 for cent in cents]
    orders = [values, values[::-1], sorted(values)]
    assert sum(cents) == 83785  # over eight visits
    assert {round(sum(order) / 8, 4) for order in orders} == {104.7312, 104.7313}
    days = [AS_OF - (5 + visit) * DAY for visit in range(8)]
    for customer, order in zip("xyz", orders, strict=True):
        visits = [Event(customer, day, category="BREAD", value=v) for day, v in zip(days, order, strict=True)]
        import_list(home, visits, customer)
    build_snapshots(home, AS_OFS[2:])
    features = read_contents(home, find_snapshot(home, AS_OF)).features
    assert {f"{features[customer, 'basket_value_mean_90d', '']:.4f}" for customer in "xyz"} == {"104.7313"}


def test_a_late_import_that_reaches_back_makes_a_new_run(built, tmp_path):
    shutil.copytree(built[0].home, tmp_path / "home")
    home = built[0].model_copy(update={"home": tmp_path / "home"})
    import_list(home, [Event("late", AS_OF - 10 * DAY, category="BREAD")], "late")
    first, second, third = build_snapshots(home, AS_OFS)
    assert first == built[1][0]  # it ends before the late event
    assert second.run_id != built[1][1].run_id
    assert find_snapshot(home, AS_OF) == third
    assert "late" in read_contents(home, third).spine
    lake = Lake(home.lake)
    made = [
        pq.read_table(lake.run_directory("customer_profile", "us", s.run_id, AS_OF), partitioning=None)
        .column(columns.CREATED_TIMESTAMP)[0]
        .as_py()
        for s in (built[1][2], third)
    ]
    assert made[0] < made[1]


def test_labels_take_the_highest_class(home):
    import_list(
        home,
        [
            Event("k", AS_OF - DAY, "view", "BREAD"),
            Event("k", AS_OF, "view", "BREAD"),
            Event("k", AS_OF + DAY, "purchase", "BREAD"),
            Event("k", AS_OF + 2 * DAY, "view", "BREAD"),
            Event("k", AS_OF + DAY, "view", "MILK"),
        ],
        "k",
    )
    three = home.model_copy(update={"labels": LabelSettings(event_types=("view", "purchase"))})
    (labels,) = build_labels(three, [AS_OF])
    assert read_labels(three, labels)["k"] == {"BREAD": 2, "MILK": 1}
    (labels,) = build_labels(home, [AS_OF])
    assert read_labels(home, labels)["k"] == {"BREAD": 1}


def test_settings_that_go_back_are_in_force_again(home):
    """Feast gives the run recorded last, so the first run's id must not be taken for granted."""
    three = home.model_copy(update={"labels": LabelSettings(event_types=("view", "purchase"))})
    seen = []
    for settings in (home, three, home, home, three):
        ((snapshot,), (labels,)) = build_snapshots(settings, [AS_OF]), build_labels(settings, [AS_OF])
        assert find_snapshot(settings, AS_OF) == snapshot
        assert find_labels(settings, AS_OF) == labels
        seen.append((snapshot, labels, read_contents(settings, snapshot).popularity, read_labels(settings, labels)))
    assert seen[0][2:] != seen[1][2:]
    assert seen[2] == seen[3]
    for number, original in ((2, 0), (4, 1)):
        for place in (0, 1):
            assert seen[number][place].run_id != seen[original][place].run_id
            assert seen[number][place].contents == seen[original][place].contents
        assert seen[number][2:] == seen[original][2:]


def test_an_instant_is_one_as_of_in_any_time_zone(built):
    settings, (_, _, snapshot) = built
    assert build_snapshots(settings, [AS_OF.astimezone(settings.zone)]) == [snapshot]
    with pytest.raises(SettingsError, match="has no time zone"):
        build_snapshots(settings, [datetime(2017, 10, 20)])


def test_missing_days_are_said_in_one_line(built):
    settings, _ = built
    last = midnight(2018, 1, 18)  # the last event is just before it
    assert build_snapshots(settings, [last])
    for build, as_of, said in (
        (build_snapshots, AS_OF - 501 * DAY, "no event before"),
        (build_snapshots, last + timedelta(microseconds=1), "Import newer events"),
        (build_labels, AS_OF - 501 * DAY, "nobody to label"),
        (build_labels, last - 29 * DAY, "its labels aren't known yet"),
        (find_snapshot, AS_OF + DAY, "propensity features build --as-of 2017-10-21"),
        (find_labels, AS_OF + DAY, "propensity labels build --as-of 2017-10-21"),
    ):
        with pytest.raises(MissingSnapshotError) as raised:
            build(settings, as_of if build in (find_snapshot, find_labels) else [as_of])
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)
    assert build_labels(settings, [last - 30 * DAY])


def test_an_unknown_region_is_said(built):
    with pytest.raises(UnknownRegionError, match="Known: us"):
        build_snapshots(built[0].model_copy(update={"region": "uk"}), AS_OFS)


def test_footers_are_read_once_however_many_ranges_are(home):
    (snapshot,) = build_snapshots(home, [AS_OF])
    snapshot_reader._footer_of_version.cache_clear()
    for start in range(0, snapshot_rows(home, snapshot), 2):
        list(read_snapshot(home, snapshot, rows=range(start, start + 2)))
    assert snapshot_reader._footer_of_version.cache_info().misses == len(columns.FAMILIES)


def test_a_damaged_snapshot_is_refused(home):
    (snapshot,) = build_snapshots(home, [AS_OF])
    assert list(read_snapshot(home, snapshot))  # what is remembered of the files isn't in the way
    lake = Lake(home.lake)
    file = lake.run_directory("customer_profile", "us", snapshot.run_id, AS_OF) / "part-0.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).slice(1), file)
    with pytest.raises(WarehouseError, match="damaged"):
        list(read_snapshot(home, snapshot))
    file.unlink()
    with pytest.raises(MissingSnapshotError, match="propensity features build"):
        list(read_snapshot(home, snapshot))
