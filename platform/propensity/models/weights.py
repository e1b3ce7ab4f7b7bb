"""Weights straight from a safetensors file: mapped, so that processes on one machine share their pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def map_weights(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Map a safetensors file of float32: 8 bytes of header length, a JSON header, the tensors.

    The arrays are read-only. Safetensors' own numpy reader copies.

    Raises:
        ValueError, KeyError: It's no such file.
    """
    mapped = np.memmap(path, np.uint8, mode="r")
    length = int(mapped[:8].view("<u8")[0])
    header = json.loads(mapped[8 : 8 + length].tobytes())
    weights = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        if tensor["dtype"] != "F32":
            raise ValueError(f"{name} has type {tensor['dtype']}, not F32")
        start, stop = (8 + length + offset for offset in tensor["data_offsets"])
        weights[name] = mapped[start:stop].view("<f4").reshape(tensor["shape"]).view(np.ndarray)
    return weights
