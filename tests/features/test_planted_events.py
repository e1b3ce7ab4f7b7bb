"""Leakage shows here: what was planted after an as_of, or recorded after it, must change nothing about it.

Each plant has a control: the same row a microsecond earlier, which must change something.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from propensity.features.dictionary_store import load_dictionary
from propensity.features.labels import build_labels, label_window_end
from propensity.features.snapshots import build_snapshots
from propensity.warehouse.categories import load_categories

from .worlds import (
    MICROSECOND,
    Attribute,
    Contents,
    Event,
    import_attribute_list,
    import_list,
    midnight,
    new_home,
    read_contents,
    read_labels,
    shop,
)

AS_OFS = [midnight(2017, 10, 20), midnight(2017, 11, 5), midnight(2017, 3, 13)]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def events_to_plant(as_of: datetime) -> dict[str, tuple[Event, Event]]:
    """By name: an event that the snapshot of `as_of` must not know, and its control that it must."""
    at = Event("a", as_of, category="BREAD", basket_id="new", product_type="RYE", value=77, discount=3, promoted=True)
    recorded = replace(at, created_timestamp=as_of + MICROSECOND)

    def earlier(**changes: object) -> tuple[Event, Event]:
        late = replace(recorded, **changes)
        return late, replace(late, created_timestamp=as_of)

    def later(**changes: object) -> tuple[Event, Event]:
        planted = replace(at, **changes)
        return planted, replace(planted, event_timestamp=as_of - MICROSECOND)

    return {
        "at the as_of": later(),
        "a microsecond after": later(event_timestamp=as_of + MICROSECOND),
        "a later line of a basket": later(event_timestamp=as_of + MICROSECOND, basket_id="last"),
        "in a new category": later(category="NOVELTIES"),
        "by a new customer": later(customer_id="new", event_timestamp=as_of + DAY),
        "a view": later(event_type="view", customer_id="new"),
        "a coupon": later(event_type="coupon_redemption", campaign_type="Type B"),
        "a campaign": later(event_type="campaign_received", campaign_type="Type B"),
        "recorded later": earlier(event_timestamp=as_of - DAY),
        "recorded later, a line of a basket": earlier(event_timestamp=as_of - HOUR, basket_id="last"),
        "recorded later, between two": earlier(event_timestamp=as_of - 33 * DAY),
        "recorded later, before the first": earlier(event_timestamp=as_of - 600 * DAY),
        "recorded later, by a new customer": earlier(event_timestamp=as_of - 5 * DAY, customer_id="new"),
        "recorded later, a view by a new customer": earlier(
            event_timestamp=as_of - 5 * DAY, customer_id="new", event_type="view"
        ),
        "recorded later, in a new category": earlier(event_timestamp=as_of - 5 * DAY, category="NOVELTIES"),
    }


def attributes_to_plant(as_of: datetime) -> tuple[list[Attribute], list[Attribute]]:
    """What must not be known at `as_of`, and what must."""
    later = [
        Attribute("a", "kids", "2", as_of + MICROSECOND),
        Attribute("b", "age", "41", as_of + MICROSECOND),
        Attribute("c", "age", "55", as_of + DAY),
    ]
    return later, [replace(row, created_timestamp=as_of) for row in later]


def build(home, as_ofs, events, attributes, later_attributes=()) -> list[Contents]:
    settings = new_home(home)
    import_list(settings, events)
    import_attribute_list(settings, attributes)
    if later_attributes:
        import_attribute_list(settings, later_attributes, "later")
    return [read_contents(settings, snapshot) for snapshot in build_snapshots(settings, as_ofs)]


@pytest.mark.parametrize("as_of", AS_OFS, ids=str)
def test_what_was_planted_after_an_as_of_changes_nothing(tmp_path, as_of):
    events, attributes = shop(as_of)
    as_ofs = [as_of - 14 * DAY, as_of, as_of + 7 * DAY]  # the last, so that the plants are read
    planted = [late for late, _ in events_to_plant(as_of).values()]
    before = build(tmp_path / "before", as_ofs, events, attributes)
    after = build(tmp_path / "after", as_ofs, [*planted, *events], attributes, attributes_to_plant(as_of)[0])
    assert len(before[1].features) > 200
    assert after[:2] == before[:2]
    assert after[2] != before[2]


@pytest.fixture(scope="module")
def controls(tmp_path_factory) -> Contents:
    """The shop with a copy of customer a for each control, and nobody's attributes dated later."""
    events, attributes = shop(AS_OFS[0])
    mine = [event for event in events if event.customer_id == "a"]
    for number, (_, control) in enumerate(events_to_plant(AS_OFS[0]).values()):
        events += [replace(event, customer_id=f"a{number}") for event in mine]
        events.append(replace(control, customer_id=f"{control.customer_id}{number}"))
    home = tmp_path_factory.mktemp("controls") / "home"
    (contents,) = build(home, AS_OFS[:1], events, attributes, attributes_to_plant(AS_OFS[0])[1])
    return contents


def of(contents: Contents, customer: str) -> dict[tuple[str, str], float]:
    return {(signal, key): value for (who, signal, key), value in contents.features.items() if who == customer}


@pytest.mark.parametrize("name", events_to_plant(AS_OFS[0]))
def test_the_same_a_microsecond_earlier_changes_something(controls, name):
    """So that the test above can fail by each of its plants."""
    plants = events_to_plant(AS_OFS[0])
    number, (_, control) = list(plants).index(name), plants[name]
    if control.customer_id == "new":
        assert f"new{number}" in controls.spine
    else:
        untouched = {named: value for named, value in of(controls, "a").items() if named[0] != "attribute"}
        assert of(controls, f"a{number}") != untouched


def test_a_copy_without_a_control_has_the_same_features(tmp_path):
    """So that the test above doesn't pass for another reason."""
    events, _ = shop(AS_OFS[0])
    events += [replace(event, customer_id="copy") for event in events if event.customer_id == "a"]
    (contents,) = build(tmp_path / "home", AS_OFS[:1], events, [Attribute("nobody", "age", "1")])
    assert of(contents, "copy") == of(contents, "a")


def test_attributes_recorded_by_the_as_of_are_known(controls):
    assert {(who, key) for who, signal, key in controls.features if signal == "attribute"} == {
        ("a", "age=30"),
        ("a", "kids=2"),
        ("b", "age=41"),  # not 40, which was dated earlier
        ("c", "age=55"),
    }


def test_the_attribute_dated_last_stands(tmp_path):
    """Not the one imported last: an older value may be delivered later. Of equal dates the later import corrects."""
    as_of = AS_OFS[0]
    first = [
        Attribute("a", "age", "new", as_of - 10 * DAY),
        Attribute("a", "age", "old", as_of - 90 * DAY),
        Attribute("a", "kids", "1", as_of - 10 * DAY),
    ]
    second = [
        Attribute("a", "age", "oldest", as_of - 400 * DAY),
        Attribute("a", "age", "undated"),
        Attribute("a", "kids", "2", as_of - 10 * DAY),
    ]
    events = [Event("a", as_of - 500 * DAY, category="BREAD"), Event("a", as_of, category="BREAD")]
    as_ofs = [as_of - 401 * DAY, as_of - 200 * DAY, as_of - 50 * DAY, as_of]
    snapshots = build(tmp_path / "home", as_ofs, events, first, second)
    known = [{key for _, signal, key in found.features if signal == "attribute"} for found in snapshots]
    assert known == [{"age=undated"}, {"age=oldest"}, {"age=old"}, {"age=new", "kids=2"}]


def test_a_line_recorded_late_joins_its_basket_from_then_on(tmp_path):
    """One occasion in every snapshot, as large as was known then; not one more."""
    as_of = AS_OFS[0]
    line = Event("a", as_of - 3 * DAY, category="BREAD", basket_id="1", quantity=1)
    late = replace(line, quantity=5, created_timestamp=as_of + HOUR)
    as_ofs = [as_of, as_of + HOUR]
    end = Event("end", as_of + DAY, category="MILK")
    first, second = build(tmp_path / "home", as_ofs, [line, late, end], [Attribute("nobody", "age", "1")])
    assert (of(first, "a")["purchases_30d", "BREAD"], of(first, "a")["quantity_90d", "BREAD"]) == (1, 1)
    assert (of(second, "a")["purchases_30d", "BREAD"], of(second, "a")["quantity_90d", "BREAD"]) == (1, 6)
    assert ("gap_mean_days", "BREAD") not in of(second, "a")


@pytest.mark.parametrize("seed", [1, 2])
def test_another_future_leaves_features_popularity_dictionary_and_known_categories(tmp_path, seed):
    """Every event from the as_of on is replaced by random ones: the whole future, not a plant in it."""
    as_of = AS_OFS[1]
    events, attributes = shop(as_of)
    past = [event for event in events if event.event_timestamp < as_of]
    rng = random.Random(seed)
    future = [
        Event(
            rng.choice(["a", "b", "e", "new"]),
            as_of + rng.choice([0, 1, 10**6, rng.randrange(90 * 86400 * 10**6)]) * MICROSECOND,
            rng.choice(["purchase", "purchase", "view"]),
            rng.choice(["BREAD", "AAA", "ZZZ"]),
            rng.choice(["last", "x", "y"]),
            rng.choice(["RYE", "NEW"]),
            rng.choice(["FRESH", "NEW"]),
            value=rng.randrange(1, 900) / 100,
        )
        for _ in range(60)
    ]
    future.append(Event("new", as_of + 90 * DAY, category="ZZZ"))
    seen = []
    for name, world in (("one", events), ("other", rng.sample(past + future, len(past) + len(future)))):
        settings = new_home(tmp_path / name)
        import_list(settings, world)
        import_attribute_list(settings, attributes)
        snapshots = build_snapshots(settings, [as_of - 14 * DAY, as_of])
        dictionary = load_dictionary(settings)
        categories = load_categories(settings)
        seen.append(
            (
                [read_contents(settings, snapshot) for snapshot in snapshots],
                # Which feature stands at which index, by the name of its category: what an encoder fits on.
                [
                    (family, signal, key, categories.names[category] if category >= 0 else None)
                    for family, signal, key, category in zip(
                        dictionary.family, dictionary.signal, dictionary.key, dictionary.category_index, strict=True
                    )
                ],
                {
                    (category, first)
                    for category, first in zip(categories.names, categories.first_event_timestamp, strict=True)
                    if first < as_of
                },
            )
        )
    one, other = seen
    assert one == other


def test_labels_are_what_happened_in_the_window(tmp_path):
    """From the as_of on, before the window's end; nobody is known by what a retailer sends or by the future."""
    as_of = AS_OFS[1]
    settings = new_home(tmp_path / "home")
    end = label_window_end(settings, as_of)
    assert end == midnight(2017, 12, 5)  # thirty local days, one of them of 25 hours
    known = [Event(customer, as_of - DAY, category="BREAD") for customer in ("at", "end", "before end", "nothing")]
    import_list(
        settings,
        [
            *known,
            Event("at", as_of, category="MILK"),
            Event("before end", end - MICROSECOND, category="MILK"),
            Event("end", end, category="MILK"),
            Event("late", as_of - DAY, category="BREAD", created_timestamp=as_of + MICROSECOND),
            Event("late", as_of + DAY, category="BREAD"),
            Event("in time", as_of - DAY, category="BREAD", created_timestamp=as_of),
            Event("mailed", as_of - DAY, "campaign_received", campaign_type="Type A"),
            Event("mailed", as_of + DAY, category="BREAD"),
            Event("couponed", as_of - DAY, "coupon_redemption", campaign_type="Type A"),
            Event("viewer", as_of - DAY, "view", category="BREAD"),
            Event("viewer", as_of + DAY, "view", category="BREAD"),
            Event("future", as_of, category="BREAD"),
            Event("future", end + 8 * DAY, category="BREAD"),
        ],
    )
    # With a later window beside it, so that the events after this one's end are read.
    labels, _ = build_labels(settings, [as_of, as_of + 7 * DAY])
    assert read_labels(settings, labels) == {
        "at": {"MILK": 1},
        "before end": {"MILK": 1},
        "end": {},
        "nothing": {},
        "in time": {},
        "couponed": {},
        "viewer": {},
    }
    (snapshot,) = build_snapshots(settings, [as_of])
    assert set(read_contents(settings, snapshot).spine) == set(read_labels(settings, labels))
    assert np.isclose(read_contents(settings, snapshot).popularity["BREAD"][1], 5 / 7)
