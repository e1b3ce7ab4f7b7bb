"""Views: their distribution, and the exact truth of every class that purchases and views can make."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pyarrow.compute as pc
import pytest

from propensity.simulation.customers import make_customers
from propensity.simulation.events import events_of_chunk
from propensity.simulation.population import population
from propensity.simulation.propensities import truth_of_chunk
from propensity.simulation.purchases import make_purchases
from propensity.simulation.views import make_views, views_per_purchase
from propensity.simulation.world import make_world
from tests.simulation.test_generative_model import START, deviation, window_from

SIZE = {"customers": 800, "categories": 25, "features": 60, "days": 300, "seed": 11, "purchases_per_day": 0.5}
VIEWED = SIZE | {"views_per_purchase": 1.5}

EXTRAS = {
    "steady": {"steady": True},
    "default": {},
    "coupons": {"campaigns_per_week": 12.0, "campaign_share": 0.5, "campaign_lift": 4.0},
    "all the same": {"browsing_spread": 0.0, "max_cycle": 6, "cold_start": 0.8},
}
ORDERS = (("view", "purchase"), ("purchase", "view"), ("view",), ("purchase",))


@pytest.mark.parametrize("order", ORDERS, ids=" then ".join)
@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
def test_every_class_is_calibrated(extras, order):
    """Overall and per decile, each class; 4 standard errors are one in 16,000."""
    chosen = population(**VIEWED | extras)
    truth = truth_of_chunk(make_world(chosen), 0, window_from(220.3), order)
    reached = truth.at_least.astype(float)
    assert reached.shape == (len(truth.customer_id), len(order), chosen.categories)
    assert ((reached >= 0) & (reached <= 1)).all()
    assert (np.diff(reached, axis=1) <= 1e-7).all()
    for number in range(1, len(order) + 1):
        lower = reached[:, number] if number < len(order) else 0.0
        for chance, happened in (
            (reached[:, number - 1], truth.labels >= number),
            (reached[:, number - 1] - lower, truth.labels == number),
        ):
            assert abs(deviation(chance, happened)) < 4
            decile = np.digitize(chance, np.quantile(chance, np.arange(0.1, 1, 0.1)))
            for tenth in range(10):
                assert abs(deviation(chance[decile == tenth], happened[decile == tenth])) < 4


def test_classes_share_what_they_have_in_common():
    """Doing anything is the same in either order, and buying is the same whether views count or not."""
    world = make_world(population(**VIEWED, campaigns_per_week=8.0))
    truth = {order: truth_of_chunk(world, 0, window_from(220.3), order) for order in ORDERS}
    both, turned, viewed, bought = (truth[order] for order in ORDERS)
    assert (both.at_least[:, 0] == turned.at_least[:, 0]).all()
    assert (both.at_least[:, 1] == bought.at_least[:, 0]).all()
    assert (turned.at_least[:, 1] == viewed.at_least[:, 0]).all()
    assert ((both.labels == 2) == (bought.labels == 1)).all()
    assert ((turned.labels == 2) == (viewed.labels == 1)).all()
    assert ((both.labels > 0) == (bought.labels | viewed.labels)).all()


def test_views_change_nothing_else():
    """One chunk holds all in both populations, so that its draws are the same."""
    without, with_views = (population(**each) for each in (SIZE, VIEWED))
    assert with_views.chunks == without.chunks == 1
    before = events_of_chunk(make_world(without), 0, START)
    after = events_of_chunk(make_world(with_views), 0, START)
    assert set(before["event_type"].unique().to_pylist()) == {"purchase", "campaign_received"}
    assert after.filter(pc.not_equal(after["event_type"], "view")).equals(before)
    views = after.filter(pc.equal(after["event_type"], "view"))
    assert views["category"].null_count == views["item_id"].null_count == 0
    assert views["value"].null_count == views.num_rows  # nothing was paid


def test_a_population_without_views_is_named_and_kept_as_before_there_were_any():
    assert population().name == "dfacd768630a"
    assert population(browsing_spread=0.9).name == population().name
    assert "views" not in population().to_json()
    assert population(views_per_purchase=1.0).name != population(views_per_purchase=2.0).name != population().name


def test_views_are_poisson_around_the_pairs_rates():
    chosen = population(**VIEWED, steady=True)
    world = make_world(chosen)
    customers = make_customers(world, 0)
    views = make_views(world, customers, 0)
    counts = np.zeros(customers.rate.shape)
    np.add.at(counts, (views.customer, views.category), 1)
    mean = views_per_purchase(world, customers) * customers.rate * chosen.days
    assert abs(counts.sum() - mean.sum()) < 4 * np.sqrt(mean.sum())
    assert ((counts - mean) ** 2 / mean)[mean > 1].mean() == pytest.approx(1, abs=4 * np.sqrt(2.5 / (mean > 1).sum()))
    spread = np.log(customers.curiosity).std()
    assert spread == pytest.approx(chosen.browsing_spread, rel=0.1)
    # Given the rates, who views more doesn't buy more.
    bought = make_purchases(world, customers, 0)
    purchases = np.zeros(counts.shape)
    np.add.at(purchases, (bought.customer, bought.category), 1)
    expected = customers.rate * chosen.days
    usable = mean > 1
    more_views, more_purchases = (
        ((counts - mean) / np.sqrt(mean))[usable],
        ((purchases - expected) / expected**0.5)[usable],
    )
    assert abs(np.corrcoef(more_views, more_purchases)[0, 1]) < 4 / np.sqrt(usable.sum())


def test_views_keep_to_joining_opening_and_coupons():
    chosen = population(
        **VIEWED, cold_start=0.5, new_categories=0.3, campaigns_per_week=6.0, campaign_share=0.5, campaign_lift=4.0
    )
    world = make_world(chosen)
    customers = make_customers(world, 0)
    views = make_views(world, customers, 0)
    assert (views.day >= customers.joins[views.customer]).all()
    assert (views.day >= world.opens[views.category]).all()
    # While a coupon is valid its owner looks as much more often as she buys more.
    mine, everyones = np.zeros((2, 2))
    intensity = views_per_purchase(world, customers) * customers.rate
    for campaign in world.campaigns:
        valid = (views.category == campaign.category) & (views.day >= campaign.begins) & (views.day < campaign.ends)
        received = customers.received[campaign.number]
        others = ~received & (customers.joins < campaign.begins)
        mine += [received[views.customer[valid]].sum(), intensity[received, campaign.category].sum()]
        everyones += [others[views.customer[valid]].sum(), intensity[others, campaign.category].sum()]
    ratio = (mine[0] / mine[1]) / (everyones[0] / everyones[1])
    assert ratio == pytest.approx(1 + chosen.campaign_lift, rel=0.15)


def test_who_only_looked_is_known():
    chosen = population(**VIEWED | {"purchases_per_day": 0.01, "views_per_purchase": 5.0}, cold_start=0.0)
    world, window = make_world(chosen), window_from(40)
    customers = make_customers(world, 0)
    purchases, views = make_purchases(world, customers, 0), make_views(world, customers, 0)
    seen = np.union1d(purchases.customer[purchases.day < 40], views.customer[views.day < 40])
    assert len(seen) > 1.5 * len(np.unique(purchases.customer[purchases.day < 40]))
    for order in (("purchase",), ("view", "purchase")):
        assert truth_of_chunk(world, 0, window, order).customer_id.tolist() == customers.names[seen].tolist()


def test_chunks_leave_room_for_views():
    size = {"customers": 100_000, "categories": 10, "features": 10, "days": 700}
    few, many = (population(**size, views_per_purchase=each).chunk_customers for each in (0.0, 6.0))
    assert many == pytest.approx(few / 4, rel=0.01)


def test_truth_depends_on_the_window_alone():
    """A later window of the same length has other chances; the same window has the same, bit by bit."""
    world = make_world(population(**VIEWED))
    first, again = (truth_of_chunk(world, 0, window_from(200), ORDERS[0]) for _ in range(2))
    assert (first.at_least == again.at_least).all()
    longer = dataclasses.replace(window_from(200), end=START + timedelta(days=260))
    assert (truth_of_chunk(world, 0, longer, ORDERS[0]).at_least[:, 0] >= first.at_least[:, 0]).all()
