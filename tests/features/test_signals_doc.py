"""docs/signals.md names every signal, and its example of adding one works as written."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta

import pytest

from propensity import columns
from propensity.features import signal_files, snapshots
from propensity.features.dictionary_store import load_dictionary
from propensity.features.signal_files import SIGNAL_FILES, SignalFile
from propensity.features.snapshots import build_snapshots
from propensity.settings import project_root

from .worlds import import_attribute_list, import_list, midnight, new_home, read_contents, shop

AS_OF = midnight(2017, 10, 20)
TEXT = (project_root() / "docs" / "signals.md").read_text()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    settings = new_home(tmp_path_factory.mktemp("doc") / "home")
    events, attributes = shop(AS_OF)
    import_list(settings, events)
    import_attribute_list(settings, attributes)
    return settings


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return found


def test_the_table_names_every_signal_with_its_file_and_no_other(home):
    build_snapshots(home, [AS_OF])
    table = TEXT.split("## What there is")[1].split("\n\n")[1]
    named = {
        (signal, file.strip(" `"))
        for row in table.splitlines()[2:]
        for cells in [row.strip("|").split("|")]
        for file in [cells[-1]]
        for signal in re.findall(r"`(\w+)`", cells[0])
    }
    files = {file.name: file for file in SIGNAL_FILES}
    assert {name for _, name in named} == set(files)
    dictionary = load_dictionary(home)
    assert {signal for signal, _ in named} == set(dictionary.signal)
    family = dict(zip(dictionary.signal, dictionary.family, strict=True))
    assert all(family[signal] == files[name].family for signal, name in named)
    assert all(name in TEXT for name in columns.FAMILIES)


def test_the_relations_have_the_columns_that_are_named(home, tmp_path, monkeypatch):
    rows = TEXT.split("## What a signal file may read")[1].split("\n\n")[2].splitlines()[2:]
    assert len(rows) == 4
    directory = tmp_path / "signals"
    shutil.copytree(signal_files.SIGNALS, directory)
    monkeypatch.setattr(signal_files, "SIGNALS", directory)
    files = []
    for row in rows:
        relation, _, listed = row.strip("|").split("|")
        names = re.findall(r"`(\w+)`", listed)
        relation = relation.strip(" `")
        assert names
        tested = " + ".join(f"count({name})" for name in names)
        (directory / f"{relation}.sql").write_text(
            f"SELECT snapshot, customer_id, '' AS key, {tested} AS of_{relation} FROM {relation} GROUP BY ALL"
        )
        files.append(SignalFile(relation, "profile", "customer"))
    monkeypatch.setattr(snapshots, "SIGNAL_FILES", tuple(files))
    (snapshot,) = build_snapshots(home, [AS_OF])
    found = {signal for _, signal, _ in read_contents(home, snapshot).features}
    assert found == {f"of_{file.name}" for file in files}


def test_the_example_works(home, tmp_path, monkeypatch):
    (before,) = build_snapshots(home, [AS_OF])
    old = read_contents(home, before)
    directory = tmp_path / "signals"
    shutil.copytree(signal_files.SIGNALS, directory)
    (directory / "weekdays.sql").write_text(block("sql"))
    monkeypatch.setattr(signal_files, "SIGNALS", directory)
    (line,) = eval(f"[{block('python')}]")  # the line as it stands in the tuple
    monkeypatch.setattr(snapshots, "SIGNAL_FILES", (*SIGNAL_FILES, line))
    (after,) = build_snapshots(home, [AS_OF])
    assert after.run_id != before.run_id
    new = read_contents(home, after).features
    visits: dict[tuple[str, str, str], set[object]] = {}
    for event in shop(AS_OF)[0]:
        if event.event_type == "purchase" and timedelta() < AS_OF - event.event_timestamp < timedelta(days=90):
            weekday = str(event.event_timestamp.astimezone(home.zone).isoweekday())
            visits.setdefault((event.customer_id, "weekday_visits_90d", weekday), set()).add(event.basket)
    assert new.items() - old.features.items() == {feature: len(baskets) for feature, baskets in visits.items()}.items()
    assert old.features.items() <= new.items()
