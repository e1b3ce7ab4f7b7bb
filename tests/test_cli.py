from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import typer

from propensity import cli
from propensity.api import Platform
from propensity.settings import Settings
from propensity.warehouse.catalogue import ModelVersion
from propensity.warehouse.catalogue_session import catalogue_session
from propensity.warehouse.runs import list_runs, record_run
from tests import shop

COMMANDS = {
    "import events", "import items", "import customers", "import complete-journey", "migrate", "features build",
    "labels build", "apply", "train", "evaluate", "backtest", "tune", "report", "score", "run", "demo", "config",
    "simulate truth", "runs list", "runs show", "runs republish", "runs expire",
    "models list", "models show", "models compare", "models promote", "models rollback",
    "models export", "models check-export",
    "categories", "top", "audience", "sql", "feast",
}  # fmt: skip


@pytest.fixture
def call(monkeypatch, capfd):
    """Run a command line in this process as the console script does; return its exit code, output and messages."""

    def run(home, *arguments, **options):
        for name, value in (shop.OPTIONS | {"PROPENSITY_HOME": str(home)} | options).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["propensity", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capfd.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def fails(call):
    """Run a command line that must fail with one line on standard error; return that line."""

    def run(home, *arguments, code=1, **options):
        found, out, err = call(home, *arguments, **options)
        assert found == code, err
        assert out == ""
        lines = [line for line in err.splitlines() if not line.startswith("✓")]
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in err
        return lines[0]

    return run


def leaves(command, prefix=""):
    for name, child in getattr(command, "commands", {}).items():
        if getattr(child, "commands", None):
            yield from leaves(child, f"{prefix}{name} ")
        else:
            yield prefix + name, child


def test_every_command_says_what_it_does():
    found = dict(leaves(typer.main.get_command(cli.app)))
    assert set(found) == COMMANDS
    for name, command in found.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", sorted(COMMANDS - {"feast"}))
def test_help_needs_nothing(call, tmp_path, name):
    code, out, err = call(tmp_path / "nowhere", *name.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: propensity {name}")
    assert not (tmp_path / "nowhere").exists()


def test_its_name_does_not_depend_on_what_started_it():
    code = "from propensity.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "models", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: propensity models")


def test_help_is_quick():
    """A shell's user waits for it: nothing of Feast, MXNet or pandas is imported."""
    code = "import sys, propensity.cli; print([m for m in ('feast', 'mxnet', 'pandas', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["rum"], ["run"], ["run", "--as_of", "2024-08-01"], ["top"], ["audience", "WINE", "--top", "many"], ["features"]],
)
def test_a_wrong_command_line_exits_2(call, tmp_path, arguments):
    code, _, err = call(tmp_path, *arguments)
    assert code == 2
    assert "Usage: propensity" in err or arguments == ["features"]


# Wrong input ------------------------------------------------------------------------------------------------------


def test_unknown_category(fails, finished_home):
    line = fails(finished_home, "audience", "WINES")
    assert line == (
        "error: 'WINES' is not a category of region 'us'. Did you mean 'WINE'? See: propensity categories --region us"
    )
    assert "SOFT DRINKS" in fails(finished_home, "audience", "SOFT  DRINKS")
    assert "Did you mean" not in fails(finished_home, "audience", "[red]")


def test_unknown_customer(fails, finished_home):
    line = fails(finished_home, "top", "nobody")
    assert "'nobody' of region 'us' has no score online" in line
    assert "propensity sql" in line


REGIONAL = [
    ["categories"], ["report"], ["models"], ["models", "list"], ["models", "show"], ["models", "compare", "a", "b"],
    ["models", "promote", "a"], ["models", "rollback"], ["models", "export", "--to", "nowhere"],
    ["models", "check-export", "nowhere"], ["runs"], ["runs", "list"], ["runs", "show", "a"],
    ["runs", "republish", "a"], ["runs", "expire"], ["top", "c001"], ["audience", "WINE"],
    *([*name.split(), "--as-of", shop.AS_OF] for name in ("features build", "labels build", "train", "evaluate")),
    ["score", "--as-of", shop.AS_OF], ["run", "--as-of", shop.AS_OF],
]  # fmt: skip


@pytest.mark.parametrize("arguments", REGIONAL, ids=" ".join)
def test_unknown_region(fails, finished_home, arguments):
    line = fails(finished_home, *arguments, "--region", "uss")
    assert line.startswith("error: Unknown region 'uss'. Did you mean 'us'? Known: us.")
    assert "propensity import" in line


def test_impossible_region(fails, finished_home):
    assert "Setting 'region'" in fails(finished_home, "categories", "--region", "US East")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("score --as-of 2024-05-05", "propensity features build --as-of 2024-05-05"),
        ("train --as-of 2024-07-15", "propensity features build --as-of"),
        ("evaluate --as-of 2024-09-01", "Choose an earlier as_of, or import newer events."),
        ("evaluate --as-of 2024-05-05", "propensity train --as-of 2024-05-05"),
        ("labels build --as-of 2024-09-01", "Choose an earlier as_of, or import newer events."),
        ("features build --as-of 2025-01-01", "Import newer events, or choose an earlier as_of."),
        ("run --as-of 2025-01-01", "Import newer events, or choose an earlier as_of."),
        ("run --as-of 2024-02-01", "choose a later --as-of"),
        ("run --as-of 2023-01-01", "choose a later --as-of"),
        ("score --as-of 2024-08-01 --model nonesuch", "See: propensity models"),
        ("evaluate --as-of 2024-08-01 --model nonesuch", "See: propensity models"),
    ],
)
def test_an_as_of_that_nothing_was_built_for(fails, home, arguments, expected):
    assert expected in fails(home, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("run --as-of tomorrow", "'tomorrow' is no date and no instant. Give 2017-11-01"),
        ("run --as-of 2024-13-01", "'2024-13-01' is no date"),
        ("run --as-of 2024-08-01T25:00", "no date and no instant"),
        ("features build", "Give either --as-of DATE, or --from DATE --to DATE"),
        ("features build --as-of 2024-08-01 --from 2024-08-01", "Give either --as-of DATE"),
        ("features build --from 2024-08-02 --to 2024-08-01", "2024-08-02 is after 2024-08-01"),
        ("labels build --from 2024-07-01 --to 2024-07-08 --every week", "Give for example 7d"),
        ("labels build --from 2024-07-01 --to 2024-07-08 --every 0d", "Give for example 7d"),
        ("labels build --from 2024-07-01 --to 2024-07-08 --every -7d", "Give for example 7d"),
        ("evaluate --as-of 2024-08-01 --baselines tifu", "is not a baseline. Did you mean 'tifu_knn'?"),
        ("top c001 --n 0", "Choose 1 to 5"),
        ("top c001 --n 6", "PROPENSITY_TOP_K"),
        ("audience WINE --top 0", "Choose 1 or more"),
    ],
)
def test_a_bad_value_on_the_command_line(fails, finished_home, arguments, expected):
    assert expected in fails(finished_home, *arguments.split())


def test_a_damaged_artifact(fails, home):
    (weights,) = (home / "models" / "us").glob("*/weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    for command in ("score", "evaluate"):
        line = fails(home, command, "--as-of", shop.AS_OF)
        assert f"{weights} is damaged: its SHA-256 differs. Restore the artifact, or remove {weights.parent}" in line


def test_a_lost_artifact(fails, home):
    (directory,) = (home / "models" / "us").iterdir()
    directory.rename(home / "elsewhere")
    assert "holds no model artifact" in fails(home, "score", "--as-of", shop.AS_OF)


def test_a_locked_warehouse(call, fails, home):
    file = str(home / "warehouse.duckdb")
    holding = f"import duckdb, sys; c = duckdb.connect({file!r}); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        for arguments in (["runs"], ["run", "--as-of", shop.AS_OF], ["migrate"], ["top", "c001"], ["sql", "SELECT 1"]):
            line = fails(home, *arguments, code=75, PROPENSITY_LOCK_TIMEOUT_SECONDS="0.1")
            assert "The catalogue is locked by another process" in line
            assert str(holder.pid) in line
            assert "Close that process, or raise PROPENSITY_LOCK_TIMEOUT_SECONDS." in line
        # Who may wait gets it.
        releasing = threading.Timer(1, holder.kill)
        releasing.start()
        assert call(home, "runs", PROPENSITY_LOCK_TIMEOUT_SECONDS="30")[0] == 0
        releasing.join()


def test_a_damaged_catalogue(fails, tmp_path):
    (tmp_path / "warehouse.duckdb").write_bytes(b"not a database" * 1000)
    for arguments in (["runs"], ["run", "--as-of", shop.AS_OF]):
        assert "Can't open the catalogue" in fails(tmp_path, *arguments)


def test_a_damaged_file_of_the_lake(fails, home):
    (file,) = home.glob("lake/category_propensity/*/*/*/*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    for arguments in (["audience", "WINE"], ["sql", "FROM propensity_long"]):
        assert str(file.relative_to(home)) in fails(home, *arguments)


def test_missing_and_useless_data_files(fails, new_home, tmp_path):
    assert "There is no file" in fails(new_home, "import", "events", "--from", str(tmp_path / "nowhere.parquet"))
    (tmp_path / "shop.csv").write_text("who,when\nc1,2024-01-01\n")
    line = fails(new_home, "import", "events", "--from", str(tmp_path / "shop.csv"))
    assert "--column" in line
    assert "Its columns: who, when" in line
    line = fails(new_home, "import", "events", "--from", str(tmp_path / "shop.csv"), "--column", "who")
    assert "--column value=PRICE" in line
    (tmp_path / "bad.csv").write_text("customer_id,event_timestamp,category\nc1,never,TEA\nc2,2024-01-01,TEA\n")
    line = fails(new_home, "import", "events", "--from", str(tmp_path / "bad.csv"))
    assert "bad_timestamp" in line
    assert "There is no file" in fails(new_home, "import", "items", "--from", "nowhere.csv")
    assert "There is no file" in fails(new_home, "import", "customers", "--from", "nowhere.csv")
    assert "lacks" in fails(new_home, "import", "complete-journey", "--from", str(tmp_path))


def test_bad_sql(fails, finished_home):
    line = fails(finished_home, "sql", "SELEC 1")
    assert 'syntax error at or near "SELEC"' in line
    assert line.endswith('See the tables: propensity sql "SHOW TABLES"')
    assert "propensity_lng does not exist" in fails(finished_home, "sql", "FROM propensity_lng")
    assert "That is no query" in fails(finished_home, "sql", "DELETE FROM runs")


def test_no_catalogue_yet(fails, tmp_path):
    for arguments in [*REGIONAL[:-1], ["sql", "SELECT 1"]]:
        assert fails(tmp_path, *arguments).endswith("Create it: propensity migrate"), arguments
    assert "propensity import" in fails(tmp_path, "run", "--as-of", shop.AS_OF)


def test_nothing_published_yet(fails, new_home):
    for arguments in (["top", "c001"], ["audience", "WINE"]):
        assert "Nothing was published" in (line := fails(new_home, *arguments))
        assert line.endswith("Score: propensity run --as-of DATE")
    assert "does not exist" in fails(new_home, "sql", "FROM propensity")
    assert "propensity features build --as-of 2024-08-01" in fails(new_home, "score", "--as-of", shop.AS_OF)


def test_no_model_yet(fails, new_home):
    Platform(shop.settings_of(new_home)).build_features([shop.AS_OF])
    line = fails(new_home, "score", "--as-of", shop.AS_OF)
    assert "propensity train --as-of 2024-08-01" in line


def test_published_but_not_online_yet(fails, home):
    settings = shop.settings_of(home)
    (run,) = list_runs(settings, kind="scoring")
    with catalogue_session(settings) as session:
        record_run(session, dataclasses.replace(run, detail={}))
    assert "Nothing is online for region 'us' yet. Score: propensity run" in fails(home, "top", "c001")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"PROPENSITY_TRAINING__EPOCHS": "abc"}, "Setting 'training.epochs'"),
        ({"PROPENSITY_TRAINING__EPOCHS": "0"}, "Setting 'training.epochs'"),
        ({"PROPENSITY_TRAINING__EPOCH": "3"}, "Setting 'training.epoch'"),
        ({"PROPENSITY_TIMEZONE": "Mars/Olympus"}, "'Mars/Olympus' is not an IANA time zone"),
        ({"PROPENSITY_LABELS__EVENT_TYPES": "purchase"}, 'EVENT_TYPES=\'["purchase"]'),
        ({"PROPENSITY_LABELS__EVENT_TYPES": "[]"}, "labels.event_types"),
        ({"PROPENSITY_TRAINING": "{"}, "training"),
        ({"PROPENSITY_CONFIG": "/nowhere.toml"}, "'/nowhere.toml', which is not a file"),
    ],
)
@pytest.mark.parametrize("command", [["config"], ["runs"], ["feast", "entities", "list"]], ids=" ".join)
def test_a_bad_setting(fails, finished_home, command, options, expected):
    assert expected in fails(finished_home, *command, **options)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("epochs = 3", "Setting 'epochs'"),
        ("[training]\nepoch = 3", "Setting 'training.epoch'"),
        ("[training", "not valid TOML"),
        ("threads = 'many'", "Setting 'threads'"),
    ],
)
def test_a_bad_settings_file(fails, tmp_path, content, expected):
    (tmp_path / "propensity.toml").write_text(content)
    options = {"PROPENSITY_CONFIG": str(tmp_path / "propensity.toml"), "PROPENSITY_THREADS": "1"}
    if "threads" in content:
        options["PROPENSITY_THREADS"] = "2.5"
    assert expected in fails(tmp_path, "config", **options)


def test_a_bad_memory_limit(fails, finished_home):
    fails(finished_home, "sql", "SELECT 1", PROPENSITY_MEMORY_LIMIT="plenty")


def test_a_home_that_cant_be(fails, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments in (["migrate"], ["run", "--as-of", shop.AS_OF]):
        assert str(tmp_path / "file") in fails(tmp_path / "file", *arguments)


def test_an_output_file_that_cant_be(fails, finished_home, tmp_path):
    target = tmp_path / "nowhere" / "audience.csv"
    assert str(target.parent) in fails(finished_home, "audience", "WINE", "--csv", str(target))


def test_an_error_of_ours_shows_itself(monkeypatch, call, tmp_path):
    """What nobody foresaw keeps its traceback: it is ours to mend."""

    def broken(**_):
        raise KeyError("surprise")

    monkeypatch.setattr("propensity.commands.reading.load_settings", broken)
    monkeypatch.setattr(sys, "argv", ["propensity", "config"])
    with pytest.raises(KeyError, match="surprise"):
        cli.main()


# Output -----------------------------------------------------------------------------------------------------------


def test_data_go_to_stdout_and_messages_to_stderr(call, finished_home, tmp_path):
    code, out, err = call(finished_home, "categories")
    assert (code, out, err) == (0, "".join(f"{name}\n" for name in shop.CATEGORIES), "")
    code, out, err = call(finished_home, "score", "--as-of", shop.AS_OF)
    assert (code, out) == (0, "")
    assert "published before" in err
    assert "online already" in err
    code, out, err = call(finished_home, "audience", "WINE", "--csv", str(tmp_path / "wine.csv"))
    assert (code, out) == (0, "")
    assert err == f"10 rows written to {tmp_path / 'wine.csv'}\n"


def test_json_and_csv_hold_the_same_rows(call, finished_home, tmp_path):
    _, out, _ = call(finished_home, "audience", "SOFT DRINKS", "--top", "80", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 80
    assert list(rows[0]) == ["customer_id", "propensity", "as_of", "model_version"]
    assert rows[0]["as_of"] == "2024-08-01T04:00:00.000000Z"
    _, out, _ = call(finished_home, "audience", "SOFT DRINKS", "--top", "80", "--csv", "-")
    table = list(csv.DictReader(io.StringIO(out)))
    assert [row["customer_id"] for row in table] == [row["customer_id"] for row in rows]
    assert [float(row["propensity"]) for row in table] == pytest.approx([row["propensity"] for row in rows])
    call(finished_home, "audience", "SOFT DRINKS", "--top", "80", "--csv", str(tmp_path / "drinks.csv"))
    assert (tmp_path / "drinks.csv").read_text() == out
    _, plain, _ = call(finished_home, "audience", "SOFT DRINKS", "--top", "80")
    assert [line.split()[0] for line in plain.splitlines()[1:]] == [row["customer_id"] for row in rows]


def test_json_of_every_list(call, finished_home):
    def rows(*arguments):
        code, out, _ = call(finished_home, *arguments, "--json")
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]

    (model,) = rows("models")
    assert model["state"] == "champion"
    assert model["trained_as_of"] == "2024-08-01T04:00:00+00:00"
    assert Path(model["artifact"]).is_dir()
    assert {row["kind"] for row in rows("runs")} >= {"import", "attributes", "features", "labels", "scoring"}
    top = rows("top", "c001", "--n", "3")
    assert [list(row) for row in top] == [["category", "propensity", "as_of", "model_version"]] * 3
    (row,) = rows("sql", "SELECT 'crème [brûlée]' AS dish, [1, 2] AS list, NULL AS nothing, 0.1::FLOAT AS share")
    assert row == {"dish": "crème [brûlée]", "list": [1, 2], "nothing": None, "share": pytest.approx(0.1)}


def test_markup_and_width_leave_data_alone(call, finished_home):
    _, out, _ = call(finished_home, "sql", "SELECT '[bold]:wine_glass: ' || repeat('x', 300) || '[/nonsense]' AS name")
    assert out.splitlines()[1].strip() == "[bold]:wine_glass: " + "x" * 300 + "[/nonsense]"


def test_config_lists_every_option(call, tmp_path):
    code, out, err = call(tmp_path, "config")
    assert code == 0
    assert "PROPENSITY_TRAINING__EPOCHS=3" in err
    listed = {line.split()[0] for line in out.splitlines()[1:]}
    expected = set()
    for name, field in Settings.model_fields.items():
        nested = getattr(field.annotation, "model_fields", None)
        expected |= {f"{name}.{inner}" for inner in nested} if nested else {name}
    assert listed == expected
    for line in out.splitlines()[1:]:
        assert len(line.split()) > 2, f"{line} has no meaning"


def test_runs_by_command_line(call, fails, home):
    def listed(*arguments):
        code, out, err = call(home, "runs", *arguments, "--json")
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    (first,) = listed("list", "--kind", "scoring", "--as-of", shop.AS_OF, "--state", "published")
    assert first["was_online"] == "category_propensity_top"
    assert first["rows"] == shop.CUSTOMERS
    assert listed("list", "--kind", "scoring", "--state", "expired") == []
    assert listed("list", "--as-of", "2024-07-31") == []
    assert len(listed("list")) == len(listed()) > 5
    for top_k in ("4", "3"):
        assert call(home, "score", "--as-of", shop.AS_OF, PROPENSITY_TOP_K=top_k)[0] == 0
    _, second, third = listed("list", "--kind", "scoring")
    (shown,) = listed("show", third["run"])
    assert (shown["is_newest"], shown["is_online"], shown["kind"]) == (True, True, "scoring")
    assert shown["bytes"] == sum(file["bytes"] for file in shown["files"]) > 0
    _, out, _ = call(home, "runs", "show", second["run"])
    for said in (
        second["run"],
        "newest online",
        "model_version",
        "snapshot",
        f"run={second['run']}/part-00000.parquet",
    ):
        assert said in out

    # Back to the second: a new run with its rows, online at once; then once more, which is nothing.
    code, _, err = call(home, "runs", "republish", second["run"])
    assert code == 0, err
    assert "published again as scoring-" in err
    assert "1 older run expired" in err
    assert "✓ materialize  online" in err
    *_, newest = listed("list", "--kind", "scoring")
    _, out, _ = call(home, "sql", "SELECT DISTINCT run_id, len(top_categories) AS k FROM propensity", "--json")
    assert json.loads(out) == {"run_id": newest["run"], "k": 4}
    assert len(call(home, "top", "c001", "--n", "5", "--json")[1].splitlines()) == 4
    code, _, err = call(home, "runs", "republish", second["run"])
    assert "is the newest already" in err
    assert "online already" in err

    assert "can't expire" in fails(home, "runs", "expire", newest["run"])
    assert "Give either run ids" in fails(home, "runs", "expire", third["run"], "--keep", "1")
    assert "Give for example 7d" in fails(home, "runs", "expire", "--older-than", "week")
    assert [row["run"] for row in listed("expire", "--keep", "1", "--dry-run")] == [third["run"]]
    assert listed("expire", "--older-than", "1d") == listed("expire") == []
    _, out, err = call(home, "runs", "expire", "--keep", "1")
    assert third["run"] in out
    assert "1 run expired, " in err
    assert [row["state"] for row in listed("list", "--kind", "scoring")] == ["expired"] * 3 + ["published"]
    assert "has expired" in fails(home, "runs", "republish", third["run"])
    assert "Unknown run 'x'" in fails(home, "runs", "show", "x")


def test_models_by_command_line(call, fails, home):
    def listed():
        _, out, _ = call(home, "models", "list", "--json")
        return [json.loads(line) for line in out.splitlines()]

    (model,) = listed()
    version = model["model"]
    assert (model["state"], model["decision"]) == ("champion", "promoted")
    assert call(home, "models", "--json") == call(home, "models", "list", "--json")
    code, out, _ = call(home, "models", "show")
    assert code == 0
    for expected in (version, "this model, validated net", "global_popularity", "min_micro_auc", "early stopping"):
        assert expected in out
    _, out, _ = call(home, "models", "show", version, "--json")
    assert json.loads(out)["decisions"][0]["figures"]["window"]["customers"] == shop.CUSTOMERS

    assert "is the champion already" in fails(home, "models", "promote", version)
    assert "no earlier champion to go back to" in fails(home, "models", "rollback")
    assert "Did you mean" in fails(home, "models", "show", version[:-1])
    assert "See: propensity models" in fails(home, "models", "compare", version, "nonesuch")
    assert "has seen the window" in fails(home, "models", "compare", version, version, "--as-of", "2024-05-03")
    code, out, err = call(home, "models", "compare", version, version)
    assert (code, "80 customers x 12 categories" in err) == (0, True), err
    assert "log_loss of explore pairs" in out
    assert "+0.00000" in out

    settings = shop.settings_of(home)
    with catalogue_session(settings) as session:
        session.get(ModelVersion, ("us", version)).state = "refused"
    assert "--force --reason TEXT" in fails(home, "models", "promote", version)
    assert f"propensity models show {version}" in fails(home, "score", "--as-of", shop.AS_OF)
    code, _, err = call(home, "models", "promote", version, "--force", "--reason", "none better")
    assert (code, f"Model {version} is the champion" in err) == (0, True), err
    _, out, _ = call(home, "models", "show")
    assert "forced: promoted by hand: none better" in out
    (model,) = listed()
    assert model["decision"] == "forced"


def test_exports_by_command_line(call, fails, home, tmp_path):
    target = tmp_path / "exports" / "onnx"
    code, out, err = call(home, "models", "export", "--to", str(target))
    assert (code, out) == (0, ""), err
    version = json.loads((target / "signature.json").read_text())["model_version"]
    assert f"model {version} as onnx in {target}, within " in err
    assert sorted(path.name for path in target.iterdir()) == ["propensity.onnx", "signature.json"]
    code, _, err = call(home, "models", "check-export", str(target))
    assert (code, f"model {version} as onnx in {target}, within " in err) == (0, True), err

    assert "never overwritten" in fails(home, "models", "export", version, "--to", str(target))
    elsewhere = ("--to", str(tmp_path / "v2"))
    assert "Did you mean 'onnx'? Known: " in fails(home, "models", "export", *elsewhere, "--format", "onx")
    assert "Did you mean" in fails(home, "models", "export", version[:-1], *elsewhere)
    assert "holds no export" in fails(home, "models", "check-export", str(tmp_path))
    with (target / "propensity.onnx").open("ab") as file:
        file.write(b" ")
    line = fails(home, "models", "check-export", str(target))
    assert f"{target / 'propensity.onnx'} is damaged" in line
    assert line.endswith(f"Export it again: propensity models export {version} --format onnx --to DIRECTORY")
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["exports"]


def test_imports_by_command_line(call, tmp_path, shop_directory):
    home = tmp_path / "home"
    code, out, err = call(home, "import", "customers", "--from", str(shop_directory / "customers.csv"))
    assert (code, out) == (0, "")
    assert "80 new or changed attributes" in err
    code, _, err = call(home, "import", "events", "--from", str(shop_directory / "events.parquet"))
    assert code == 0
    assert f"{len(shop.event_rows()) - 3:,} events; set aside: 3 no_quantity" in err
    code, _, err = call(home, "import", "events", "--from", str(shop_directory / "events.parquet"))
    assert code == 0
    assert "imported before" in err
    (tmp_path / "items.csv").write_text("sku,category\n1,TEA\n2,WINE\n")
    code, _, err = call(home, "import", "items", "--from", str(tmp_path / "items.csv"), "--column", "item_id=sku")
    assert code == 0, err
    assert "2 new or changed items" in err
    (tmp_path / "more.csv").write_text("who,when,item_id\nc001,2024-09-17 10:00,1\n")
    code, _, err = call(
        home, "import", "events", "--from", str(tmp_path / "more.csv"), "--timezone", "Europe/Berlin",
        "--column", "customer_id=who", "--column", "event_timestamp=when",
    )  # fmt: skip
    assert code == 0, err
    _, out, _ = call(home, "sql", "SELECT event_timestamp, category FROM events ORDER BY 1 DESC LIMIT 1", "--json")
    assert json.loads(out) == {"event_timestamp": "2024-09-17T08:00:00.000000Z", "category": "TEA"}


SERIES = ["features", "build", "--from", "2024-03-03", "--to", "2024-03-17", "--every", "7d"]


def test_series_of_dates(call, new_home):
    code, _, err = call(new_home, *SERIES)
    assert code == 0
    assert "3 snapshots" in err
    _, out, _ = call(new_home, "sql", "SELECT as_of FROM runs WHERE kind = 'features' ORDER BY 1", "--json")
    # The clocks change on 10 March: a day is an hour shorter.
    assert [json.loads(line)["as_of"][:16] for line in out.splitlines()] == [
        "2024-03-03T05:00", "2024-03-10T05:00", "2024-03-17T04:00",
    ]  # fmt: skip


def test_times_are_right_in_new_york(call, finished_home, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    _, out, _ = call(finished_home, "top", "c001", "--json")
    assert {json.loads(line)["as_of"] for line in out.splitlines()} == {"2024-08-01T04:00:00.000000Z"}


# A process of its own ---------------------------------------------------------------------------------------------


def test_a_closed_pipe_is_no_error(finished_home):
    line = " ".join(shop.command("sql", "'FROM range(200000)'", "--json")) + " | head -1"
    done = subprocess.run(
        ["bash", "-c", line], env=shop.environment(finished_home), capture_output=True, text=True, check=False
    )
    assert done.stdout == '{"range": 0}\n'
    assert done.stderr == ""


def test_an_error_in_a_process_of_its_own(finished_home, tmp_path):
    done = subprocess.run(
        shop.command("audience", "WINES"), env=shop.environment(finished_home, LC_ALL="C"), capture_output=True,
        text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("delay", [0, 0.5])
def test_ctrl_c_stops_in_one_line(new_home, delay):
    with subprocess.Popen(
        shop.command("run", "--as-of", shop.AS_OF), env=shop.environment(new_home), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stderr.readline().startswith("✓ migrate")
        time.sleep(delay)
        os.kill(running.pid, signal.SIGINT)
        rest = [line for line in running.stderr.read().splitlines() if not line.startswith("✓")]
        assert running.wait() == 130
    assert rest == ["error: Stopped. What was finished stays; the same command goes on from there."]
