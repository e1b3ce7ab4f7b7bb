from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from propensity.training.descent import no_progress, train_net, train_nets
from propensity.training.encoded_examples import encode
from propensity.training.encoding import fit_encoder
from propensity.training.fitting import network_shape

from .planted import CATEGORIES, QUICK, dictionary, examples

SETTINGS = QUICK.model_copy(update={"epochs": 4, "dropout": 0.3, "aligned_dropout": 0.2})


class Killed(BaseException):
    pass


@cache
def rows():
    train, validation = examples(60, 2, 1), examples(60, 1, 2)
    encoder = fit_encoder(
        train, dictionary(), CATEGORIES, 5, aligned_columns=False, cross_signals=SETTINGS.cross_signals
    )
    return encode(encoder, train), encode(encoder, validation), network_shape(encoder, SETTINGS, 2)


def trained(progress=no_progress, checkpoint=None, **changed):
    train, validation, shape = rows()
    settings = SETTINGS.model_copy(update=changed)
    return train_net(train, validation, shape, settings=settings, epochs=4, progress=progress, checkpoint=checkpoint)


def killed_in(wanted):
    def progress(epoch, batch, n_batches, _):
        if epoch == wanted and batch == n_batches:  # trained, but not yet saved
            raise Killed

    return progress


def assert_same(one, other):
    assert one.epoch == other.epoch
    assert one.history == other.history
    assert one.weights.keys() == other.weights.keys()
    for name, value in one.weights.items():
        assert value.tobytes() == other.weights[name].tobytes(), name


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "sgd"])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, optimizer):
    file = tmp_path / "deep" / "fit-0.npz"
    for epoch in (2, 4):
        with pytest.raises(Killed):
            trained(killed_in(epoch), file, optimizer=optimizer)
    heard = []
    found = trained(lambda *told: heard.append(told[0]), file, optimizer=optimizer)
    assert set(heard) == {4}
    assert_same(found, trained(optimizer=optimizer))
    assert [path.name for path in file.parent.iterdir()] == ["fit-0.npz"]


def test_a_finished_training_is_not_repeated(tmp_path):
    file = tmp_path / "fit-0.npz"
    first = trained(checkpoint=file)
    again = trained(killed_in(1), file)
    assert_same(first, again)


def test_early_stopping_goes_on_where_it_was(tmp_path):
    file = tmp_path / "fit-0.npz"
    wild = {"learning_rate": 0.5, "patience": 1}  # the second epoch is worse than the first
    with pytest.raises(Killed):
        trained(killed_in(2), file, **wild)
    assert_same(trained(checkpoint=file, **wild), trained(**wild))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", "half"])
def test_a_damaged_checkpoint_starts_anew(tmp_path, damage):
    file = tmp_path / "fit-0.npz"
    with pytest.raises(Killed):
        trained(killed_in(3), file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    assert_same(trained(checkpoint=file), trained())


def test_one_of_another_shape_starts_anew(tmp_path):
    file = tmp_path / "fit-0.npz"
    train, validation, shape = rows()
    wider = SETTINGS.model_copy(update={"embedding": 5})
    encoder_shape = shape.__class__(**{**shape.__dict__, "embedding": 5})
    with pytest.raises(Killed):
        train_net(train, validation, encoder_shape, settings=wider, epochs=4, progress=killed_in(2), checkpoint=file)
    assert_same(trained(checkpoint=file), trained())


def test_each_net_has_its_own(tmp_path):
    train, validation, shape = rows()
    settings = SETTINGS.model_copy(update={"nets": 2, "epochs": 2})
    arguments = {"settings": settings, "epochs": 2, "checkpoints": tmp_path}

    def killed_in_the_second(epoch, batch, n_batches, losses):
        if losses.net == 1 and epoch == 2 and batch == n_batches:
            raise Killed

    with pytest.raises(Killed):
        train_nets(train, validation, shape, progress=killed_in_the_second, **arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit-0.npz", "fit-1.npz"]
    found = train_nets(train, validation, shape, progress=no_progress, **arguments)
    expected = train_nets(train, validation, shape, settings=settings, epochs=2, progress=no_progress, checkpoints=None)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert not np.array_equal(found[0].weights["head.output.weight"], found[1].weights["head.output.weight"])
