"""Random histories against the brute-force oracle: ties, late records, several as_ofs, clock changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from propensity.features.labels import build_labels, label_window_end
from propensity.features.snapshots import build_snapshots
from propensity.settings import LabelSettings

from . import oracle
from .worlds import (
    MICROSECOND,
    ZONE,
    Attribute,
    Event,
    anchors,
    import_attribute_list,
    import_list,
    midnight,
    new_home,
    read_contents,
    read_labels,
)

FIRST, LAST = datetime(2015, 6, 1, 15, tzinfo=UTC), datetime(2018, 3, 1, tzinfo=UTC)
# Both clock changes of the year, a leap day's neighbour, and an instant that is no midnight.
AS_OFS = (
    midnight(2017, 2, 28),
    midnight(2017, 3, 12),
    midnight(2017, 3, 13),
    midnight(2017, 10, 20),
    midnight(2017, 11, 5),
    midnight(2017, 11, 6),
    datetime(2017, 11, 9, 14, 33, 7, 123457, tzinfo=UTC),
)
HORIZON = 30

as_of_lists = st.lists(st.sampled_from(AS_OFS), min_size=1, max_size=3, unique=True)


@st.composite
def instants(draw: st.DrawFn, as_ofs: list[datetime]) -> datetime:
    """Around an as_of, around the edges of the windows before and after it, or anywhere."""
    as_of = draw(st.sampled_from(as_ofs))
    kind = draw(st.sampled_from(["near", "edge", "minutes", "days", "years"]))
    if kind == "near":
        end = oracle.window_end(as_of, HORIZON, ZONE)
        return draw(st.sampled_from([as_of, as_of, end])) + draw(st.integers(-2, 2)) * MICROSECOND
    if kind == "edge":
        days = draw(st.sampled_from([7, 30, 60, 90, 180, 360, 365]))
        return as_of - timedelta(days=days) + draw(st.integers(-1, 1)) * MICROSECOND
    if kind == "minutes":
        end = oracle.window_end(as_of, HORIZON, ZONE)
        return draw(st.sampled_from([as_of, end])) + timedelta(minutes=draw(st.integers(-90, 90)))
    span = 45 * 24 * 60 if kind == "days" else 400 * 24 * 60
    return as_of + timedelta(minutes=draw(st.integers(-span, 60 * 24 * 60)))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[datetime], list[Event], list[list[Attribute]]]:
    as_ofs = draw(as_of_lists)
    when = instants(as_ofs)
    # Few instants, baskets and names, so that ties and repeats are common.
    pool = draw(st.lists(when, min_size=1, max_size=8))
    moments = st.one_of(st.sampled_from(pool), when)
    amounts = st.integers(1, 4000).map(lambda cents: cents / 100)
    types = st.sampled_from(["purchase"] * 6 + ["view", "coupon_redemption", "campaign_received"])

    def names(*of: str) -> st.SearchStrategy[str | None]:
        return st.sampled_from([*of, None])

    events = draw(
        st.lists(
            st.builds(
                Event,
                customer_id=st.sampled_from(["a", "b", "c"]),
                event_timestamp=moments,
                event_type=types,
                category=st.sampled_from(["BREAD", "MILK"]),
                basket_id=st.sampled_from(["1", "2", "3", "4", None]),
                product_type=names("RYE", "WHITE"),
                department=names("BAKERY", "DAIRY"),
                brand=names("own", "other"),
                quantity=st.sampled_from([1.0, 2.0, 0.35]),
                value=amounts,
                discount=st.sampled_from([0.0, 0.0, 0.5, 1.25]),
                promoted=st.booleans(),
                campaign_type=names("Type A", "Type B"),
                created_timestamp=st.one_of(st.none(), st.none(), moments),
            ),
            min_size=1,
            max_size=32,
        )
    )
    # Lines of known baskets that were recorded at another time.
    more = draw(st.lists(st.tuples(st.sampled_from(events), st.one_of(st.none(), moments), amounts), max_size=8))
    events += [replace(event, created_timestamp=created, value=value) for event, created, value in more]
    attributes = draw(
        st.lists(
            st.lists(
                st.builds(
                    Attribute,
                    st.sampled_from(["a", "b", "nobody"]),
                    st.sampled_from(["age", "kids"]),
                    st.sampled_from(["1", "2", "3"]),
                    st.one_of(st.none(), moments),
                ),
                min_size=1,
                max_size=6,
                unique_by=lambda row: (row.customer_id, row.attribute, row.created_timestamp),
            ),
            max_size=2,
        )
    )
    return as_ofs, events, attributes


@pytest.mark.parametrize("event_types", [("purchase",), ("view", "purchase")], ids=["K=2", "K=3"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories())
def test_snapshots_and_labels_are_what_the_definitions_say(event_types, history):
    as_ofs, drawn, attributes = history
    events = [*drawn, *anchors(FIRST, LAST)]
    with TemporaryDirectory() as directory:
        home = new_home(Path(directory) / "home", labels=LabelSettings(horizon_days=HORIZON, event_types=event_types))
        import_list(home, events)
        for number, imported in enumerate(attributes):
            import_attribute_list(home, imported, f"attributes {number}")
        snapshots, labels = build_snapshots(home, as_ofs), build_labels(home, as_ofs)
        assert [snapshot.as_of for snapshot in snapshots] == sorted(as_ofs)
        for snapshot, labelled in zip(snapshots, labels, strict=True):
            as_of = snapshot.as_of
            contents = read_contents(home, snapshot)
            assert set(contents.spine) == oracle.known_customers(events, as_of)
            assert snapshot.rows == labelled.rows == len(contents.spine)
            oracle.assert_features(contents.features, oracle.features(events, attributes, as_of, ZONE))
            expected = oracle.popularity(events, event_types, as_of)
            assert contents.popularity == {
                name: (customers, pytest.approx(share)) for name, (customers, share) in expected.items()
            }
            end = label_window_end(home, as_of)
            assert end == oracle.window_end(as_of, HORIZON, ZONE)
            assert read_labels(home, labelled) == oracle.labels(events, event_types, as_of, end)
