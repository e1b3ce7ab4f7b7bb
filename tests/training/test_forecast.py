"""What a training will take, before it starts: said, refused, and without a trace in what is trained."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.api import Platform
from propensity.errors import TooLargeError
from propensity.training import available_memory, forecast, memory_forecast, networks, service
from propensity.training.cutoffs import training_cutoffs
from propensity.training.stored_training_set import stored_training_set
from propensity.training.training_shape import shape_of_examples, shape_of_snapshots
from tests import shop

GB = 1 << 30


@pytest.fixture
def platform(home):
    """A shop whose model of AS_OF is lost, so that a training of it is due."""
    platform = Platform(shop.settings_of(home))
    (model,) = platform.models()
    for path in sorted(model.artifact.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    model.artifact.rmdir()
    return platform


@pytest.fixture
def cramped(monkeypatch):
    """A machine that has nothing left but 50 MB."""
    monkeypatch.setattr(forecast, "available_bytes", lambda: available_memory.resident_bytes() + 50_000_000)


def tree(directory):
    files = (path for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path: path.stat().st_mtime_ns for path in files}


def test_shapes_are_those_of_the_training_set(finished_home, tmp_path):
    platform = Platform(shop.settings_of(finished_home))
    cutoffs = training_cutoffs(platform.settings, platform.as_of(shop.AS_OF))
    shape = shape_of_snapshots(platform.settings, cutoffs)
    built = stored_training_set(platform.settings, cutoffs.refit, tmp_path / "rows")
    parts = [service.examples_at(built.examples, as_ofs) for as_ofs in (cutoffs.train, (cutoffs.validation,))]
    read = shape_of_examples(*parts, built.examples, dictionary=built.dictionary, categories=built.categories.names)
    assert (shape.train, shape.validation, shape.refit) == (read.train, read.validation, read.refit)
    np.testing.assert_array_equal(shape.counts, read.counts)
    # Parquet counts an empty list as one.
    assert read.values <= shape.values <= read.values + 4 * sum(read.refit)
    middle = cutoffs.train[len(cutoffs.train) // 2]
    (chunk,) = service.examples_at(built.examples, (middle,)).chunks()
    assert shape.sample.customer_id.tolist() == chunk.customer_id.tolist()
    for name in ("features", "labels"):
        ours, theirs = (csr_matrix(getattr(rows, name)).sorted_indices() for rows in (shape.sample, chunk))
        assert (ours != theirs).nnz == 0
    # The encoder is as wide as the refit's, from a sample of one as_of.
    settings = platform.settings.training
    kept = shape.encoder(settings, aligned_columns=False)
    chosen = (read.counts >= settings.min_feature_rows) & (built.dictionary.category_index < 0)
    assert kept.n_columns == chosen.sum()


@pytest.mark.parametrize("network", sorted(networks.NETWORKS))
@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_are_counted(network, n_classes):
    shape = networks.NetworkShape(
        n_columns=30, n_categories=7, n_classes=n_classes, n_signals=3, n_cross_signals=2, n_customer_signals=2,
        hidden=(6, 5), aligned_hidden=(4, 3), embedding=2, context=3, dropout=0.1, aligned_dropout=0.1,
    )  # fmt: skip
    net = networks.build(network, shape, np.random.default_rng(0))
    counted = sum(value.nbytes for value in networks.weights(net).values())
    # Biases of the first layer and of the head's prior are counted within a few numbers.
    assert memory_forecast.weight_bytes(network, shape) == pytest.approx(counted, abs=4 * 4)


GROWTH = """
import os, sys
from pathlib import Path
import numpy as np
from propensity.settings import Settings, TrainingSettings
sys.path.insert(0, "tests/benchmarks")
from bench_training_forecast import Case, train, forecast
case = Case(2_048, 100, 60_000, 20, 400, 256, (256, 32), 1)
directory = Path(sys.argv[1])
case.write(directory)
if sys.argv[2] == "forecast":
    print(max(forecast(case, directory)["memory"].values()))
else:
    print(train(case, directory)["peak"])
"""


@pytest.mark.slow
def test_memory_is_what_was_forecast(tmp_path):
    said, happened = (
        int(
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", GROWTH, str(tmp_path), what],
                cwd=shop.ROOT, check=True, capture_output=True, text=True,
            ).stdout.split()[-1]
        )
        for what in ("forecast", "train")
    )  # fmt: skip
    assert happened == pytest.approx(said, rel=0.25)


def test_what_is_lowered_saves_memory():
    shape = memory_forecast.MemoryShape(
        n_features=200_000, largest_as_of=500_000, asked_rows=500_000, refit_rows=2_000_000, validation_rows=500_000,
        values_per_row=80.0, pairs_per_row=25.0, encoded_bytes=1000.0,
        net=networks.NetworkShape(
            n_columns=150_000, n_categories=2_000, n_classes=2, n_signals=15, n_cross_signals=2, n_customer_signals=4,
            hidden=(256, 128), aligned_hidden=(64, 32), embedding=8, context=8, dropout=0.5, aligned_dropout=0.2,
        ),
    )  # fmt: skip
    settings = Platform().settings.training.model_copy(update={"hidden": (256, 128), "batch_size": 1024})
    saved = dict(memory_forecast.savings(GB, shape, settings))
    assert list(saved.values()) == sorted(saved.values(), reverse=True)
    assert saved["training.nets = 1"] > 0
    # Half of the input's weights, in all their copies.
    assert saved["training.hidden = [128, 64]"] > 4 * (150_000 * 128 * 4)
    phases = memory_forecast.memory_by_phase(GB, shape, settings)
    assert max(phases, key=lambda name: phases[name]) == "nets"
    small = memory_forecast.memory_by_phase(GB, dataclasses.replace(shape, refit_rows=200_000), settings)
    assert phases["nets"] - small["nets"] > (800 << 20)  # rows beyond the window stay on disk


def test_a_training_that_wont_fit_is_refused(platform, cramped):
    before = tree(platform.home)
    with pytest.raises(TooLargeError, match=r"needs about \S+ .B of memory \(\w+\); \S+ .B is available\.") as error:
        platform.train(shop.AS_OF)
    assert "\n" not in str(error.value)
    assert "--beyond-memory" in str(error.value)
    assert tree(platform.home) == before
    with pytest.raises(TooLargeError):
        platform.run(shop.AS_OF)


def test_the_refusal_names_what_would_help(platform, cramped):
    training = platform.settings.training.model_copy(update={"hidden": (40_000, 8)})
    large = Platform(platform.settings.model_copy(update={"training": training}))
    found = large.forecast(shop.AS_OF)
    assert not found.fits
    assert not found.stages()  # no probe of what won't fit
    assert found.lower[0][0] == "training.hidden = [20000, 4]"
    with pytest.raises(TooLargeError, match=r"training\.hidden = \[20000, 4\] saves \d+ MB"):
        found.check()


def test_beyond_memory_trains_all_the_same(platform, cramped):
    heard = []

    class Observer:
        def progress(self, step, done, total): ...

        def finished(self, stage, what, seconds):
            heard.append((stage, what))

    result = platform.train(shop.AS_OF, Observer(), beyond_memory=True)
    assert result.model.artifact.is_dir()
    assert heard[0][0] == "forecast"
    assert "memory" in heard[0][1]


def test_a_probe_leaves_no_trace_in_what_is_trained(platform, monkeypatch):
    directory = platform.train(shop.AS_OF).model.artifact  # tiny: without a probe
    files = {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()
    monkeypatch.setattr(forecast, "TINY", 0)
    heard = []

    class Observer:
        def progress(self, step, done, total): ...

        def finished(self, stage, what, seconds):
            heard.append((stage, what))

    assert platform.train(shop.AS_OF, Observer()).model.artifact == directory
    assert "s at most (retrieval" in dict(heard)["forecast"]
    again = {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert again == files


def test_the_command_forecasts_and_writes_nothing(platform):
    before = tree(platform.home)
    done = shop.propensity(platform.home, "train", "--as-of", shop.AS_OF, "--forecast")
    assert done.returncode == 0, done.stderr
    assert tree(platform.home) == before
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {"rows", "columns", "categories", "memory", "time", "nets", "refit", "finishing"} <= lines.keys()
    assert "of 3 cut-offs" in lines["rows"]
    assert "12, 2 classes" in lines["categories"]
    assert "2 epochs of one net" in lines["time"]


def test_fewer_epochs_take_less_time(platform):
    found = platform.forecast(shop.AS_OF)
    assert found.seconds == sum(found.stages().values())
    assert sum(found.stages(1).values()) < found.seconds
    assert found.stages(2, 1)["nets"] == found.stages(2)["nets"]  # one net: no other to stop with it
    assert found.stages(2, 1)["refit"] < found.stages(2)["refit"]


def proc(root, *, group="0::/me", available=8 * GB // 1024):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {available} kB\n")
    (root / "proc/self/status").write_text(f"Name:\tpython\nVmRSS:\t{GB // 1024} kB\n")
    (root / "proc/self/cgroup").write_text(group + "\n")
    return root


def limited(directory, names, limit, used, cached):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / names[0]).write_text(f"{limit}\n")
    (directory / names[1]).write_text(f"{used}\n")
    (directory / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


SECOND = ("memory.max", "memory.current", "inactive_file")
FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def test_available_memory_is_the_machines(tmp_path):
    root = proc(tmp_path)
    assert available_memory.available_bytes(root) == 9 * GB
    limited(root / "sys/fs/cgroup/me", SECOND, "max", 3 * GB, 0)
    assert available_memory.available_bytes(root) == 9 * GB


def test_available_memory_minds_the_groups_above(tmp_path):
    root = proc(tmp_path, group="0::/pod/me")
    limited(root / "sys/fs/cgroup/pod/me", SECOND, 6 * GB, 2 * GB, GB)
    assert available_memory.available_bytes(root) == (1 + 6 - 2 + 1) * GB
    limited(root / "sys/fs/cgroup/pod", SECOND, 4 * GB, 3 * GB, 0)
    assert available_memory.available_bytes(root) == (1 + 1) * GB
    limited(root / "sys/fs/cgroup/pod", SECOND, 2 * GB, 3 * GB, 0)  # over its limit already
    assert available_memory.available_bytes(root) == GB


def test_available_memory_knows_version_one(tmp_path):
    root = proc(tmp_path, group="4:cpu,memory:/docker/x\n1:cpuset:/")
    limited(root / "sys/fs/cgroup/memory", FIRST, 3 * GB, 2 * GB, 0)  # mounted at the top
    assert available_memory.available_bytes(root) == 2 * GB
    limited(root / "sys/fs/cgroup/memory", FIRST, (1 << 63) - 4096, 2 * GB, 0)
    assert available_memory.available_bytes(root) == 9 * GB


def test_this_process_has_memory():
    assert 0 < available_memory.resident_bytes() < available_memory.available_bytes()
