from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from propensity.errors import ArtifactError
from propensity.models import artifact
from propensity.models.artifact import REQUIRED, TrainingFacts, drop_abandoned, read_artifact, write_artifact
from propensity.models.encoding import Encoder
from tests.training.planted import CATEGORIES, QUICK, dictionary, examples, fitted, write


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write(tmp_path_factory.mktemp("models") / "v1")


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original, tmp_path / "v1")


def seal(directory):
    """Make the sums right again after a change."""
    names = [path.name for path in sorted(directory.iterdir()) if path.name != artifact.SUMS]
    sums = (f"{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (directory / artifact.SUMS).write_text("".join(sums))


def change_metadata(directory, **changed):
    path = directory / artifact.METADATA
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    seal(directory)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_was_written_is_read(tmp_path, n_classes):
    found = read_artifact(write(tmp_path / "models" / "v1", n_classes))
    expected = fitted(n_classes).model
    assert found.model.network == expected.network
    assert found.model.n_classes == n_classes
    assert set(found.model.nets[0]) == set(expected.nets[0])
    for name, value in expected.nets[0].items():
        np.testing.assert_array_equal(found.model.nets[0][name], value)
    np.testing.assert_array_equal(found.model.calibration.slope, expected.calibration.slope)
    np.testing.assert_array_equal(found.model.calibration.intercept, expected.calibration.intercept)
    np.testing.assert_array_equal(found.model.popularity_default, expected.popularity_default)
    assert found.model.unseen_category_prior == expected.unseen_category_prior
    rows = found.model.encoder.transform(examples(50, 1, 5).features)
    same = expected.encoder.transform(examples(50, 1, 5).features)
    np.testing.assert_array_equal(rows.deep.toarray(), same.deep.toarray())
    np.testing.assert_array_equal(rows.pair_signals, same.pair_signals)
    metadata = found.metadata
    assert [entry.category for entry in metadata.categories] == CATEGORIES
    assert [entry.category_index for entry in metadata.categories] == list(range(len(CATEGORIES)))
    assert metadata.event_types == (("purchase",) if n_classes == 2 else ("view", "purchase"))
    assert metadata.metrics == {"log_loss": 0.25, "baselines": {"popularity": 0.5}}
    assert metadata.history == fitted(n_classes).history
    assert metadata.aligned_signals == expected.encoder.aligned_signals
    assert metadata.settings == QUICK.model_dump(mode="json")
    assert metadata.libraries["mxnet"] == "1.9.1"


def test_a_person_can_inspect_every_file_and_nothing_is_pickled(original):
    names = {path.name for path in original.iterdir()}
    assert names == {*REQUIRED, "SHA256SUMS", "mxnet-0000.params"}
    for path in original.iterdir():
        assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
    card = (original / "MODEL_CARD.md").read_text()
    for expected in (
        "region us",
        "12 categories",
        "30 days",
        "none < purchase",
        "baselines / popularity: 0.50000",
    ):
        assert expected in card


def test_weights_are_mapped_and_any_safetensors_reader_agrees(original):
    mapped = read_artifact(original).model.nets[0]
    assert not any(value.flags.writeable or value.flags.owndata for value in mapped.values())
    for name, value in load_file(original / "weights.safetensors").items():
        np.testing.assert_array_equal(mapped[name.removeprefix("0.")], value)


def test_the_fingerprint_is_of_the_content(original, copy):
    assert read_artifact(copy).sha256 == read_artifact(original).sha256
    change_metadata(copy, region="uk")
    assert read_artifact(copy).sha256 != read_artifact(original).sha256


@pytest.mark.parametrize("name", [*REQUIRED, "mxnet-0000.params"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named(copy, name, harm):
    path = copy / name
    content = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    elif harm == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_artifact(copy)
    message = str(caught.value)
    assert name in message or (name == "metadata.json" and "holds no model artifact" in message)
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"no sums here", b"\xff\xfe"])
def test_damaged_sums_are_named(copy, content):
    (copy / artifact.SUMS).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"SHA256SUMS is damaged|encoder\.json is missing|CARD\.md is missing"):
        read_artifact(copy)


def test_sums_that_point_outside_are_refused(copy):
    with (copy / artifact.SUMS).open("a") as file:
        file.write(f"{'0' * 64}  ../elsewhere\n")
    with pytest.raises(ArtifactError, match="elsewhere is missing"):
        read_artifact(copy)


def test_a_newer_schema_asks_for_an_update_and_an_older_for_training(copy):
    change_metadata(copy, schema_version=artifact.SCHEMA_VERSION + 1)
    with pytest.raises(ArtifactError, match=r"has artifact schema 3; this version reads 2\. Update this package\.$"):
        read_artifact(copy)
    change_metadata(copy, schema_version=0)
    with pytest.raises(ArtifactError, match=r"or remove .*v1 and train again: propensity run --as-of DATE$"):
        read_artifact(copy)


def test_a_foreign_directory_is_refused(copy, tmp_path):
    for directory in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ArtifactError, match="holds no model artifact"):
            read_artifact(directory)
    for foreign in ("[]", "{}", '"mlflow"', "not json"):
        (copy / artifact.METADATA).write_text(foreign)
        seal(copy)
        with pytest.raises(ArtifactError, match="doesn't describe a model artifact"):
            read_artifact(copy)


def test_metadata_of_another_shape_is_named_by_field(copy):
    change_metadata(copy, horizon_days="a month")
    with pytest.raises(ArtifactError, match="horizon_days"):
        read_artifact(copy)


def test_files_of_two_models_dont_mix(copy):
    described = json.loads((copy / "encoder.json").read_text())
    described["categories"].reverse()
    (copy / "encoder.json").write_text(json.dumps(described))
    seal(copy)
    with pytest.raises(ArtifactError, match="name different categories"):
        read_artifact(copy)


@pytest.mark.parametrize("name", ["weights.safetensors", "calibration.json"])
def test_unreadable_weights_and_calibration_are_refused(copy, name):
    (copy / name).write_text("{}")
    seal(copy)
    with pytest.raises(ArtifactError, match="weights or calibration can't be read"):
        read_artifact(copy)


def test_an_unknown_network_is_refused(copy):
    change_metadata(copy, network="transformer")
    with pytest.raises(ArtifactError, match=r"network 'transformer'.*category_aligned, feed_forward"):
        read_artifact(copy)


def test_an_existing_directory_is_never_overwritten(original):
    before = read_artifact(original).sha256
    with pytest.raises(ArtifactError, match="never overwritten"):
        write(original)
    assert read_artifact(original).sha256 == before


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Encoder, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "v1")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def with_validated(tmp_path):
    """An artifact with a second net in it: the one before the refit."""
    metadata = read_artifact(write(tmp_path / "alone")).metadata
    facts = TrainingFacts(**{name: getattr(metadata, name) for name in TrainingFacts.model_fields})
    first = facts.model_copy(update={"training_window": (facts.training_window[0], facts.training_window[0])})
    validated = dataclasses.replace(fitted().model, unseen_category_prior=0.25)
    return write_artifact(
        tmp_path / "models" / "v2", fitted().model, facts=facts, dictionary=dictionary(), metrics={},
        validated=(validated, first),
    )  # fmt: skip


def test_the_net_before_the_refit_is_an_artifact_within(with_validated, original):
    found = read_artifact(with_validated)
    assert found.validated.unseen_category_prior == 0.25
    assert found.model.unseen_category_prior != 0.25
    assert {path.name for path in (with_validated / "validated").iterdir()} == {*REQUIRED, "SHA256SUMS"}
    inner = found.validated_artifact.metadata
    assert inner.training_window[1] == inner.training_window[0] < found.metadata.training_window[1]
    assert not list(with_validated.parent.glob(".*"))
    assert not list(with_validated.glob(".*"))
    assert read_artifact(original).validated is None


def test_damage_to_the_inner_net_is_found_when_it_is_read_and_names_the_whole_artifact(with_validated):
    path = with_validated / "validated" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = read_artifact(with_validated)  # scoring needn't read it
    with pytest.raises(ArtifactError, match=rf"{path} is damaged.*remove {with_validated} and train again"):
        found.validated  # noqa: B018


@pytest.mark.parametrize("harm", ["sums", "lost", "strange"])
def test_an_inner_net_of_another_model_is_refused(with_validated, original, harm):
    if harm == "sums":
        (with_validated / "validated" / "SHA256SUMS").write_text("")
    elif harm == "lost":
        shutil.rmtree(with_validated / "validated")
    else:
        with_validated = shutil.copytree(original, with_validated.parent / "v3")
        shutil.copytree(original, with_validated / "validated")
    with pytest.raises(ArtifactError, match="validated"):
        read_artifact(with_validated)


def test_what_killed_trainings_left_is_removed(with_validated):
    beside = with_validated.parent
    (beside / f".v3.{'0' * 32}" / "validated").mkdir(parents=True)
    (beside / ".kept").mkdir()
    assert drop_abandoned(beside) == 1
    assert drop_abandoned(beside) == 0
    assert {path.name for path in beside.iterdir()} == {"v2", ".kept"}
    assert drop_abandoned(beside / "nowhere") == 0
