"""What a net's training needs to go on after a kill, saved after every epoch.

Order of rows and dropout of an epoch are drawn from the seed and the epoch's number alone, so weights, the
optimizers' state and the losses so far are all there is: a training that goes on ends with the bits of one that was
never disturbed.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.training import networks

if TYPE_CHECKING:
    import numpy.typing as npt

    Weights = dict[str, npt.NDArray[np.float32]]

META: Final = "meta"
TRAINER: Final = "trainer"


@dataclass(frozen=True)
class Checkpoint:
    """A net at the end of an epoch.

    Attributes:
        epoch: The epoch, from 1.
        done: No further epoch comes.
        best_epoch: Of the weights to keep.
        lowest: Lowest validation loss so far; infinite without validation.
        history: See `descent.TrainedNet`.
        best: The weights to keep.
    """

    epoch: int
    done: bool
    best_epoch: int
    lowest: float
    history: tuple[dict[str, Any], ...]
    best: Weights


def write_checkpoint(path: Path, checkpoint: Checkpoint, net: Any, trainer: Any) -> None:
    """Write the checkpoint with the net's weights and the optimizers' states, by one rename.

    Args:
        path: File to write or replace.
        checkpoint: What isn't in the net.
        net: As `networks.build` makes it.
        trainer: MXNet's trainer of its dense weights.

    Raises:
        OSError: The disk is full.

    Side effects: the file, and its directory where it's missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {
        "epoch": checkpoint.epoch,
        "done": checkpoint.done,
        "best_epoch": checkpoint.best_epoch,
        "lowest": checkpoint.lowest,
        "history": checkpoint.history,
        "steps": {name: layer.steps for name, layer in networks.sparse_layers(net).items()},
    }
    arrays: dict[str, Any] = {META: np.array(json.dumps(meta))}
    arrays |= {f"best/{name}": value for name, value in checkpoint.best.items()}
    if not checkpoint.done:
        arrays |= {f"weight/{name}": value for name, value in networks.weights(net).items()}
        for name, layer in networks.sparse_layers(net).items():
            arrays |= {f"state/{name}/{i}": state for i, state in enumerate(layer.state)}
        arrays[TRAINER] = np.frombuffer(_trainer_states(trainer), np.uint8)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)


def read_checkpoint(path: Path, net: Any, trainer: Any) -> Checkpoint | None:
    """Put weights and optimizers' states back into a net just built, and return the rest; None where there is no file.

    One that can't be read, since the disk filled or it's another version's, counts as none: the training starts anew.

    Side effects: changes `net` and `trainer`, unless the training was done or there's nothing to read.
    """
    try:
        # Opened here: np.load leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        meta = json.loads(str(arrays[META]))
        best = {name.removeprefix("best/"): value for name, value in arrays.items() if name.startswith("best/")}
        found = Checkpoint(
            meta["epoch"], meta["done"], meta["best_epoch"], float(meta["lowest"]), tuple(meta["history"]), best
        )
        if not found.done:
            _put_back(arrays, meta["steps"], net, trainer)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found


def _put_back(arrays: dict[str, Any], steps: dict[str, int], net: Any, trainer: Any) -> None:
    weights = {name.removeprefix("weight/"): value for name, value in arrays.items() if name.startswith("weight/")}
    networks.set_weights(net, weights)
    for name, layer in networks.sparse_layers(net).items():
        layer.steps = steps[name]
        for i, state in enumerate(layer.state):
            state[:] = arrays[f"state/{name}/{i}"]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trainer"
        path.write_bytes(arrays[TRAINER].tobytes())
        trainer.load_states(str(path))


def _trainer_states(trainer: Any) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trainer"
        trainer.save_states(str(path))
        return path.read_bytes()
