"""The page of the small shop's model, read by a parser: whole, alone, and of the same figures as the JSON."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from propensity.api import Platform
from propensity.errors import MissingSnapshotError, TrainingError, UnknownModelError
from propensity.evaluation import diagnose, measuring
from propensity.evaluation.report import COLUMNS
from propensity.models.decisions import list_decisions
from propensity.reporting import service
from propensity.reporting.charts.categories import categories
from propensity.reporting.charts.gains import gains, lift
from propensity.reporting.charts.reliability import reliability
from propensity.reporting.charts.scores import score_distribution
from propensity.reporting.elements import NOTHING
from propensity.reporting.page import Page, Part, Section, Tile, render
from propensity.reporting.tables import facts
from propensity.warehouse import complete_journey
from tests import shop
from tests.reporting.html_reading import Node, cells, read, values

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def html(page_file: Path) -> str:
    return page_file.read_text()


@pytest.fixture(scope="module")
def document(html: str) -> Node:
    return read(html)


@pytest.fixture(scope="module")
def figures(page_file: Path) -> dict:
    return json.loads(page_file.with_suffix(".json").read_text())


def of(value: float | None) -> float | str:
    return NOTHING if value is None else value


def test_nothing_is_fetched(html, document):
    assert not re.search(r"https?:|//[a-z]|@import|url\(|src=|srcset|<iframe|<object|<embed", html, re.IGNORECASE)
    for node in document.all("link"):
        assert node.attributes["href"] == "data:,"
    (policy,) = [
        node.attributes["content"]
        for node in document.all("meta")
        if node.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none';")
    for node in document.all("a"):
        assert node.attributes["href"].startswith("#")


def test_every_reference_leads_somewhere(html, document):
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(set(ids)) == len(ids)
    for node in document.all("a"):
        assert node.attributes["href"][1:] in ids
    for attribute in re.findall(r'aria-labelledby="([^"]+)"', html):
        assert set(attribute.split()) <= set(ids)


def test_every_chart_is_said_in_words_and_as_a_table(document):
    figures = document.all("figure")
    assert len(figures) == 9
    for figure in figures:
        assert len(figure.one("figcaption").text) > 40
        table = figure.one("table")
        assert table.one("tbody").all("tr"), table.attributes["id"]
        charts = figure.all("svg")
        assert charts
        for chart in charts:
            assert chart.attributes["role"] == "img"
            title, description = (chart.one(tag, id=name) for tag, name in zip(
                ("title", "desc"), chart.attributes["aria-labelledby"].split(), strict=True
            ))  # fmt: skip
            assert len(title.text) > 5
            assert len(description.text) > 15
            assert "nan" not in json.dumps([each.attributes for each in chart.all("path") + chart.all("circle")])


def test_tables_are_whole(document):
    tables = document.all("table")
    assert len(tables) > 12
    for table in tables:
        heads = table.one("thead").all("th")
        assert table.one("caption").text
        assert all(head.attributes["scope"] == "col" for head in heads)
        for row in table.one("tbody").all("tr"):
            assert len(row.children) == len(heads), table.attributes["id"]
            assert row.children[0].attributes["scope"] == "row"


def test_the_headline_is_that_of_the_json(document, figures):
    rows = values(document, "headline-table")
    assert [row[0] for row in rows] == [name.replace("_", " ") for name in figures["evaluations"]]
    places = {
        "log loss": ("all", "log_loss"), "micro AUC": ("all", "micro_auc"), "macro AUC": ("all", "macro_auc"),
        "repeat AUC": ("repeat", "micro_auc"), "explore AUC": ("explore", "micro_auc"),
        "NDCG@10": ("all", "ndcg_at_10"), "recall@10": ("all", "recall_at_10"), "ECE": ("all", "ece"),
    }  # fmt: skip
    assert [column.title for column in COLUMNS] == list(places)
    for row, (name, evaluation) in zip(rows, figures["evaluations"].items(), strict=True):
        assert row[1:9] == [of(evaluation[segment][figure]) for segment, figure in places.values()]
        if name == "net":
            assert row[9:] == [NOTHING, NOTHING]
        else:
            assert row[9] == figures["evidence"]["differences"][name]["log_loss"]["mean"]
            assert row[10] == figures["fit_seconds"][name]
    low, high = (f"{figures['gain'][end]:+.4f}" for end in ("low", "high"))
    assert f"paired 95 % interval {low} to {high}" in document.one("section", id="comparison").text
    drawn = figures["evidence"]["differences"][figures["rival"]]["log_loss"]
    assert drawn == figures["gain"]


def test_the_best_of_a_column_is_bold(document, figures):
    rows = document.one("table", id="headline-table").one("tbody").all("tr")
    losses = {name: round(each["all"]["log_loss"], 4) for name, each in figures["evaluations"].items()}
    bold = {
        row.children[0].text.replace(" ", "_") for row in rows if "best" in (row.children[1].attributes["class"] or "")
    }
    assert bold == {name for name, loss in losses.items() if loss == min(losses.values())}


def test_every_table_of_evidence_is_that_of_the_json(document, figures):
    diagnostics = figures["evidence"]["diagnostics"]
    names = ("category", "support", "base_rate", "mean_propensity", "roc_auc", "average_precision", "log_loss",
             "top_decile_lift")  # fmt: skip
    by_support = sorted(diagnostics["per_category"], key=lambda each: (-each["support"], each["category"]))
    assert values(document, "categories-table") == [[of(each[name]) for name in names] for each in by_support]

    bins = [
        [segment, kind.replace("_", " "), *(each[name] for name in
         ("low", "high", "pairs", "mean_probability", "positive_share"))]
        for segment in ("all", "repeat", "explore") for kind in ("equal_width", "equal_mass")
        for each in diagnostics["reliability"][segment][kind]
    ]  # fmt: skip
    assert values(document, "reliability-table") == bins

    gains = values(document, "gains-table")
    assert [row[1] for row in gains] == [of(share) for _, share in diagnostics["gains"]]
    assert [row[1] for row in values(document, "lift-table")] == [of(lift) for lift in diagnostics["lift_per_decile"]]

    histogram = values(document, "scores-table")
    assert sum(row[2] + row[3] for row in histogram) == shop.CUSTOMERS * len(shop.CATEGORIES)
    by_edge = {each["low"]: [each["negatives"], each["positives"]] for each in diagnostics["score_histogram"]}
    assert [row[2:] for row in histogram] == [by_edge[row[0]] for row in histogram]

    slices = figures["evidence"]["slices"]
    assert {(each["attribute"], each["value"], each["customers"]) for each in slices} == {
        ("age", "under 40", 53), ("age", "40 and over", 27),
    }  # fmt: skip
    fields = ("attribute", "value", "customers", "log_loss", "ece", "mean_propensity", "positive_share")
    shown = values(document, "fairness-table")
    assert [row[:7] for row in shown] == [[each[name] for name in fields] for each in slices]
    for row, each in zip(shown, slices, strict=True):
        assert row[7] == each["mean_propensity"] - each["positive_share"]

    for row in values(document, "differences-table"):
        keys = {"log loss": "log_loss", "macro AUC": "macro_auc", "NDCG@10": "ndcg_at_10"}
        if row[1] in keys:
            interval = figures["evidence"]["differences"][row[0].replace(" ", "_")][keys[row[1]]]
            assert row[2:5] == [of(interval[end]) for end in ("mean", "low", "high")]
            decides = not (interval["low"] <= 0 <= interval["high"])
            better = (interval["mean"] < 0) == (row[1] == "log loss")
            assert row[5] == ("no different" if not decides else "better" if better else "worse")


def test_training_windows_gate_and_card_are_the_models(document, reported_home):
    platform = Platform(shop.settings_of(reported_home))
    (model,) = platform.models()
    metadata = json.loads((model.artifact / "metadata.json").read_text())
    epochs = [
        [entry["stage"], entry["epoch"], entry["train"], of(entry["validation"])] for entry in metadata["history"]
    ]
    shown = values(document, "training-table")
    assert [[row[0], *row[-3:]] for row in shown] == epochs

    windows = cells(document, "windows-table")
    assert [row[0] for row in windows] == ["2024-06-02", "2024-07-02", "2024-08-01"] or len(windows) == 4
    assert windows[-1] == ["2024-08-01", "2024-08-31", "held out"]
    assert windows[-2][2] == "validation, then training"

    (decision,) = list_decisions(platform.settings, model.model_version)
    gate = document.one("section", id="gate").text
    assert decision.verdict in gate
    assert decision.reason in gate
    assert decision.figures["caveat"] in gate
    assert [row[0] for row in cells(document, "gate-0-checks")] == [each["rule"] for each in decision.figures["checks"]]
    challenger = decision.figures["window"]["challenger"]
    assert values(document, "gate-0-figures")[0][1:] == [of(value) for value in challenger.values()]

    card = document.one("section", id="card").text
    for said in ("Intended use", "Limits", "effect of an offer", metadata["data_fingerprint"], "none < purchase"):
        assert said in card
    assert dict(cells(document, "settings-table"))["epochs"] == shop.OPTIONS["PROPENSITY_TRAINING__EPOCHS"]


def test_the_same_again_is_the_same_page(reported_home, page_file, tmp_path, monkeypatch):
    home = shutil.copytree(reported_home, tmp_path / "home")
    monkeypatch.setattr("propensity.evaluation.service._evaluate", lambda *_: pytest.fail("evaluated again"))
    platform = Platform(shop.settings_of(home))
    page = platform.report()
    assert page.path == home / page_file.relative_to(reported_home)
    assert page.path.read_bytes() == page_file.read_bytes()
    assert page.evaluation == platform.evaluate(shop.AS_OF)
    assert platform.report(as_of=shop.AS_OF, baselines="simple").path == page.path
    assert not list(page.path.parent.glob(".*"))


def test_the_command_prints_where_the_page_is(reported_home, page_file, tmp_path):
    home = shutil.copytree(reported_home, tmp_path / "home")
    page = home / page_file.relative_to(reported_home)
    page.unlink()
    done = shop.propensity(home, "report")
    assert (done.returncode, done.stdout) == (0, f"{page}\n"), done.stderr
    assert done.stderr.startswith("✓ report")
    assert page.read_bytes() == page_file.read_bytes()


def test_a_page_of_a_large_window_states_the_errors_of_its_bins(reported_home, page_file, html, tmp_path, monkeypatch):
    home = shutil.copytree(reported_home, tmp_path / "home")
    (home / page_file.relative_to(reported_home)).with_suffix(".json").unlink()
    monkeypatch.setattr(measuring, "EXACT_PAIRS", 100)
    said = "come from bins"
    assert said not in html
    page = Platform(shop.settings_of(home)).report()
    document = read(page.path.read_text())
    assert said in document.one("section", id="comparison").text
    bound = page.evaluation.evidence.bounds["net"]["all"]["micro_auc"]
    assert f"micro auc {bound:.2g}" in document.one("section", id="comparison").text
    assert "macro AUC" not in [row[1] for row in cells(document, "differences-table")]


def test_complete_journeys_page_says_that_the_data_are_simulated(reported_home, html, monkeypatch):
    assert "simulated" not in html
    assert service._notes(Platform(shop.settings_of(reported_home)).settings, "") == []
    runs = service.list_runs(Platform(shop.settings_of(reported_home)).settings, kind="import")
    theirs = [replace(runs[0], detail=runs[0].detail | {"source": complete_journey.SOURCE})]
    monkeypatch.setattr(service, "list_runs", lambda *_, **__: theirs)
    (note,) = service._notes(Platform(shop.settings_of(reported_home)).settings, "")
    assert "simulated" in note
    page = Page("title", "champion", "summary", [note], [], [])
    assert note in read(render(page)).one("header").text


def test_a_model_without_a_held_out_window_has_a_page_too(home):
    platform = Platform(shop.settings_of(home))
    later = platform.as_of("2024-09-05")
    with pytest.raises(MissingSnapshotError):
        platform.report(as_of=later)
    (model,) = platform.models()
    with pytest.raises(TrainingError, match="has seen the window"):
        platform.report(as_of="2024-07-02")
    with pytest.raises(UnknownModelError, match="Unknown model 'none'"):
        platform.report("none")
    # Its window ends after the newest event.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "find_model", lambda *_: replace(model, trained_as_of=later))
        page = platform.report()
    assert page.evaluation is None
    assert page.not_evaluated
    assert page.path.name == f"{model.model_version}.html"
    document = read(page.path.read_text())
    assert page.not_evaluated in document.one("header").text
    titles = [section.one("h2").text for section in document.all("section")]
    assert titles == ["Training", "Data", "Gate", "Model card"]


def test_names_are_shown_not_run():
    nasty = "<script>alert(1)</script> \"quoted\" & 'so'"
    page = Page(
        nasty, "champion", nasty, [nasty], [Tile(nasty, nasty, nasty)],
        [Section("one", nasty, [Part("paragraph", nasty), Part("list", [nasty]), Part("head", nasty),
                                Part("table", facts("facts", nasty, [(nasty, nasty)]))])],
    )  # fmt: skip
    document = read(render(page))
    assert len(document.all("script")) == 1
    assert document.text.count(nasty) >= 10
    assert document.one("table", id="facts").one("tbody").one("td").text == nasty


def test_a_window_without_positives_can_be_drawn():
    labels, repeat = np.zeros((30, 2), bool), np.zeros((30, 2), bool)
    diagnostics = diagnose(labels, np.full((30, 2), 0.25), repeat, ["A & B", "<C>"])
    for draw in (categories, gains, lift, reliability, score_distribution):
        for chart in draw(diagnostics).charts:
            document = f"<!DOCTYPE html><html>{chart}</html>"
            read(document)
            assert "nan" not in re.sub("[<]title.*?[<]/title[>]|[<]desc.*?[<]/desc[>]", "", chart)
