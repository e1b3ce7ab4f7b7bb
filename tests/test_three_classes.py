"""Labels of three classes, none, view and purchase, from simulated events to SQL, Feast and the known truth."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from propensity import cli
from propensity.api import Platform
from propensity.errors import LookupFailedError, SettingsError, TrainingError
from propensity.models.artifact import read_artifact
from propensity.models.calibration import at_least, class_probabilities, propensity
from propensity.scoring.scorer import Scorer
from propensity.simulation.truth import oracle, oracle_at_least
from propensity.warehouse.schemas import CLASS_PROPENSITY_SCHEMA
from tests import shop
from tests.conftest import built_once

AS_OF = "2024-06-10"
EVENT_TYPES = ("view", "purchase")
POPULATION = {
    "customers": 600,
    "categories": 8,
    "features": 24,
    "days": 560,
    "seed": 5,
    "purchases_per_day": 0.15,
    "views_per_purchase": 1.5,
    "steady": True,
}
TRAINING = {
    "epochs": 8,
    "batch_size": 64,
    "cutoffs": 4,
    "cutoff_every_days": 21,
    "hidden": (16, 8),
    "aligned_hidden": (32, 16),
    "min_feature_rows": 5,
    "nets": 1,
    "dropout": 0.2,
}


def platform_of(home, **options):
    labels = {"event_types": EVENT_TYPES}
    return Platform(
        shop.settings_of(home, **{"labels": labels, "training": TRAINING, "online_full_vectors": True} | options)
    )


@pytest.fixture(scope="module")
def home(shared_directory):
    """What `propensity run` leaves behind, and the truth and the labels of its window. For reading."""

    def build(directory):
        platform = platform_of(directory)
        platform.simulate(**POPULATION)
        platform.simulated_truth(AS_OF)
        platform.run(AS_OF)
        platform.build_labels([AS_OF])

    return built_once(shared_directory / "three_classes", build)


@pytest.fixture(scope="module")
def platform(home):
    return platform_of(home)


@pytest.fixture(scope="module")
def window(platform):
    """Classes that came true, and probabilities of the three classes: the net's, the truth and the training shares."""
    return measured(platform)


def measured(platform):
    (model,) = platform.models()
    artifact = read_artifact(model.artifact)
    built = platform.training_set([*artifact.metadata.training_as_ofs, AS_OF])
    held_out = built.examples.as_of == np.datetime64(platform.as_of(AS_OF).replace(tzinfo=None), "us")
    test, training = built.examples.at(held_out), built.examples.at(~held_out)
    truth = oracle_at_least(platform.settings, platform.as_of(AS_OF), test.customer_id)
    shares = np.stack([(training.labels.toarray() == number).mean(axis=0) for number in range(3)])
    classes = test.labels.toarray().astype(np.int64)
    return classes, {
        "net": of_each_class(Scorer(artifact.model).examples_at_least(test)),
        "oracle": of_each_class(truth),
        "popularity": np.broadcast_to(shares, (len(classes), *shares.shape)),
    }


def of_each_class(reached):
    """Turn probabilities of class k or higher, (n, K - 1, N), into those of classes 0 .. K - 1."""
    edges = np.pad(reached.astype(float), ((0, 0), (1, 1), (0, 0)))
    edges[:, 0] = 1
    return edges[:, :-1] - edges[:, 1:]


def log_loss(classes, probabilities):
    given = np.take_along_axis(probabilities, classes[:, None], axis=1)
    return float(-np.log(np.clip(given, 1e-5, 1)).mean())


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_reaching_a_class_is_the_sum_of_it_and_the_higher_ones(n_classes):
    margins = np.random.default_rng(n_classes).normal(0, 6, (40, n_classes - 1, 25)).astype(np.float32).clip(-13, 13)
    reached, classes = at_least(margins), class_probabilities(margins)
    for number in range(1, n_classes):
        assert reached[:, number - 1] == pytest.approx(classes[:, number:].sum(axis=1), abs=1e-6)
    assert (reached[:, 0] == propensity(margins)).all()
    assert (np.diff(reached, axis=1) <= 0).all()
    assert reached.min() > 0
    assert reached.max() < 1


# Against the known truth ------------------------------------------------------------------------------------------


def test_every_class_has_its_share_and_the_truth_is_that_of_the_labels(window):
    classes, probabilities = window
    for number in range(3):
        happened, chance = classes == number, probabilities["oracle"][:, number]
        assert happened.mean() > 0.1
        assert abs((happened - chance).sum()) < 4 * np.sqrt((chance * (1 - chance)).sum())


def test_the_nets_classes_come_near_the_truth(window):
    classes, probabilities = window
    losses = {name: log_loss(classes, each) for name, each in probabilities.items()}
    assert losses["oracle"] < losses["net"] < 1.06 * losses["oracle"]
    # Most of what can be known is: the rest of the way from popularity to the oracle is short.
    assert losses["net"] - losses["oracle"] < 0.4 * (losses["popularity"] - losses["oracle"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_class_is_calibrated_and_follows_its_truth(window, number):
    classes, probabilities = window
    net, truth = probabilities["net"][:, number], probabilities["oracle"][:, number]
    assert net.mean() == pytest.approx((classes == number).mean(), abs=0.04)
    fifth = np.digitize(net, np.quantile(net, [0.2, 0.4, 0.6, 0.8]))
    for part in range(5):
        chosen = fifth == part
        assert net[chosen].mean() == pytest.approx(truth[chosen].mean(), abs=0.06)
    by_category = np.array([np.corrcoef(net[:, column], truth[:, column])[0, 1] for column in range(net.shape[1])])
    assert (by_category > 0.4).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_with_more_customers_the_net_comes_nearer(tmp_path):
    """With the default training settings."""
    platform = Platform(home=tmp_path / "home", labels={"event_types": EVENT_TYPES})
    platform.simulate(**POPULATION | {"customers": 4000, "categories": 30, "features": 120, "purchases_per_day": 0.5})
    platform.simulated_truth(AS_OF)
    platform.run(AS_OF)
    platform.build_labels([AS_OF])
    classes, probabilities = measured(platform)
    losses = {name: log_loss(classes, each) for name, each in probabilities.items()}
    print(losses)  # docs/simulation.md says them
    assert losses["net"] < 1.035 * losses["oracle"]
    for number in range(3):
        assert probabilities["net"][:, number].mean() == pytest.approx((classes == number).mean(), abs=0.01)


# What users see ---------------------------------------------------------------------------------------------------


def scores_of(platform):
    (file,) = platform.home.glob("lake/category_propensity/*/*/*/*.parquet")
    return pq.ParquetFile(file).read()


def test_the_score_table_holds_both_any_action_and_purchase(platform):
    table = scores_of(platform)
    assert table.schema.equals(CLASS_PROPENSITY_SCHEMA)
    anything, purchase = (np.stack(table[name].to_numpy()) for name in ("propensities", "class_propensities"))
    assert anything.shape == purchase.shape == (POPULATION["customers"], POPULATION["categories"])
    assert (purchase <= anything).all()
    assert (purchase < anything - 0.05).mean() > 0.5
    truth = oracle_at_least(
        platform.settings, platform.as_of(AS_OF), np.array(table["customer_id"].to_pylist(), object)
    )
    assert np.corrcoef(purchase.ravel(), truth[:, 1].ravel())[0, 1] > 0.8
    assert np.corrcoef(anything.ravel(), truth[:, 0].ravel())[0, 1] > 0.8


def test_sql_names_the_event(platform):
    table = scores_of(platform)
    order = platform.sql(
        "SELECT category FROM model_categories JOIN categories USING (region, category_index) ORDER BY position"
    )
    names = order["category"].tolist()
    expected = {
        (customer, category, event_type): np.float32(value)
        for event_type, column in zip(EVENT_TYPES, ("propensities", "class_propensities"), strict=True)
        for customer, values in zip(table["customer_id"].to_pylist(), table[column].to_pylist(), strict=True)
        for category, value in zip(names, values, strict=True)
    }
    found = platform.sql("FROM propensity_by_event")
    assert len(found) == len(expected) == 2 * POPULATION["customers"] * POPULATION["categories"]
    assert {(row.customer_id, row.category, row.event_type): row.propensity for row in found.itertuples()} == expected
    long = platform.sql("FROM propensity_long")
    assert {
        (row.customer_id, row.category, "view"): row.propensity for row in long.itertuples()
    }.items() <= expected.items()
    labels = platform.sql(
        f"SELECT class, count(*) AS n FROM labels WHERE as_of = '{platform.as_of(AS_OF)}' GROUP BY ALL"
    )
    assert set(labels["class"]) == {1, 2}


def test_an_audience_can_be_of_buyers(platform):
    everyone = platform.sql(
        "SELECT customer_id, propensity FROM propensity_by_event "
        "WHERE category = 'CATEGORY 00002' AND event_type = 'purchase' ORDER BY propensity DESC, customer_id LIMIT 20"
    )
    buyers = platform.audience("CATEGORY 00002", 20, event_type="purchase")
    assert buyers[["customer_id", "propensity"]].equals(everyone)
    anything = platform.audience("CATEGORY 00002", 20)
    assert platform.audience("CATEGORY 00002", 20, event_type="view").equals(anything)
    assert anything["propensity"].min() > buyers["propensity"].max() - 0.2
    assert not buyers["propensity"].equals(anything["propensity"])
    least = float(buyers["propensity"][9])
    assert len(platform.audience("CATEGORY 00002", 20, event_type="purchase", minimum=least)) == 10
    with pytest.raises(LookupFailedError, match=r"aren't about 'purchas'. Did you mean 'purchase'\? .* view, purchase"):
        platform.audience("CATEGORY 00002", event_type="purchas")


def test_smaller_output_forms_say_what_they_can_about_events(home, tmp_path):
    copy = shutil.copytree(home, tmp_path / "home")
    by_event = "FROM propensity_by_event ORDER BY customer_id, category, event_type"
    full = platform_of(copy)
    expected, buyers = full.sql(by_event), full.audience("CATEGORY 00002", 5, event_type="purchase")

    compact = platform_of(copy, scoring={"output": "compact"}, online_full_vectors=False)
    compact.score(AS_OF)
    found = compact.sql(by_event)
    assert found["event_type"].equals(expected["event_type"])
    np.testing.assert_allclose(found["propensity"], expected["propensity"], atol=2.5e-4)
    likely = compact.audience("CATEGORY 00002", 5, event_type="purchase")
    np.testing.assert_allclose(likely["propensity"], buyers["propensity"], atol=2.5e-4)

    scoring = {"output": "above_threshold", "threshold": 0.1}
    above = platform_of(copy, scoring=scoring, online_full_vectors=False)
    above.score(AS_OF)
    views = expected[(expected["event_type"] == "view") & (expected["propensity"] >= np.float32(0.1))]
    found = above.sql(by_event)
    assert set(found["event_type"]) == {"view"}
    assert found["propensity"].tolist() == views["propensity"].tolist()
    with pytest.raises(LookupFailedError, match="'above_threshold': it keeps no propensities by event type"):
        above.audience("CATEGORY 00002", 1, event_type="purchase")


def test_on_the_command_line(home, monkeypatch, capfd):
    monkeypatch.setenv("PROPENSITY_HOME", str(home))
    monkeypatch.setenv("PROPENSITY_LABELS__EVENT_TYPES", json.dumps(EVENT_TYPES))
    found = {}
    for event_type in EVENT_TYPES:
        arguments = ["audience", "CATEGORY 00002", "--top", "3", "--event-type", event_type, "--json"]
        monkeypatch.setattr(sys, "argv", ["propensity", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        found[event_type] = [json.loads(line)["propensity"] for line in capfd.readouterr().out.splitlines()]
    assert len(found["view"]) == 3
    assert all(view > purchase for view, purchase in zip(found["view"], found["purchase"], strict=True))


def test_feast_gives_both_offline_and_online(platform):
    table = scores_of(platform)
    row = {name: table[name][3].as_py() for name in ("customer_id", "propensities", "class_propensities")}
    store = platform.feature_store()
    service = store.get_feature_service("propensity_full_v1")
    asked = pd.DataFrame(
        {"customer_id": [row["customer_id"]], "event_timestamp": [pd.Timestamp(platform.as_of(AS_OF))]}
    )
    offline = store.get_historical_features(entity_df=asked, features=service).to_arrow().to_pylist()[0]
    online = store.get_online_features(features=service, entity_rows=[{"customer_id": row["customer_id"]}]).to_dict()
    for name in ("propensities", "class_propensities"):
        assert offline[name] == row[name]
        assert online[name][0] == pytest.approx(row[name])
    (first, *_) = platform.top(row["customer_id"], 3)
    assert first.propensity == pytest.approx(max(row["propensities"]))


def test_an_evaluation_measures_any_action_and_each_further_event(platform, window):
    classes, probabilities = window
    result = platform.evaluate(AS_OF)
    assert set(result.by_event) == {"purchase"}
    of_purchase = result.by_event["purchase"]
    for name, key in (("net", "net"), ("oracle", "oracle"), ("training_shares", "popularity")):
        chance = np.clip(probabilities[key][:, 2], 1e-5, 1 - 1e-5)
        expected = -np.where(classes == 2, np.log(chance), np.log(1 - chance)).mean()
        assert of_purchase[name].all.log_loss == pytest.approx(expected, rel=1e-5), name
    assert of_purchase["oracle"].all.log_loss < of_purchase["net"].all.log_loss
    assert of_purchase["net"].all.log_loss < of_purchase["training_shares"].all.log_loss
    assert "## purchase" in result.report.read_text()
    assert platform.evaluate(AS_OF).by_event == result.by_event  # read again from the report
    assert result.oracle.all.log_loss < result.evaluations["net"].all.log_loss
    ids = np.array(scores_of(platform)["customer_id"].to_pylist(), object)
    both = oracle_at_least(platform.settings, platform.as_of(AS_OF), ids)
    assert (oracle(platform.settings, platform.as_of(AS_OF), ids) == both[:, 0]).all()


def test_a_model_is_not_measured_on_labels_that_it_does_not_predict(platform):
    purchases = platform_of(platform.home, labels={"event_types": ("purchase",)})
    with pytest.raises(
        TrainingError, match="predicts view or purchase within 30 days, but labels are purchase within 30"
    ):
        purchases.evaluate(AS_OF)


def test_truth_of_what_was_not_simulated_is_refused(platform, tmp_path):
    carts = platform_of(platform.home, labels={"event_types": ("view", "cart", "purchase")})
    with pytest.raises(
        SettingsError, match=r"'cart', which region 'us' has no simulated events of.*Known: purchase, view"
    ):
        carts.simulated_truth(AS_OF)
    unseen = platform_of(tmp_path / "home")
    unseen.simulate(customers=50, categories=4, features=4, days=560, steady=True)
    with pytest.raises(SettingsError, match="propensity simulate --views-per-purchase 1"):
        unseen.simulated_truth(AS_OF)
