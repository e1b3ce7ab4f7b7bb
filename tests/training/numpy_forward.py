"""The nets' margins in a few lines of numpy, all rows at once: an oracle for `models/forward.py`, in any precision."""

from __future__ import annotations

import numpy as np

from propensity.models.forward import PRIOR_SCALE


def margins(weights, n_classes, rows, prior, as_of_position):
    """Return the margins, (n_rows, K - 1, N), in the weights' precision; without aligned weights those of a plain net.

    Args:
        weights: A net's parameters by their path in it.
        n_classes: K.
        rows: EncodedRows.
        prior: Log-odds of popularity, (n_as_of, N).
        as_of_position: Row's position in `prior`.
    """
    recent = prior[as_of_position]
    hidden = np.maximum(rows.deep @ weights["deep.input_weight"] + weights["deep.input_bias"], 0)
    hidden = _layers(weights, "deep", hidden)
    head = hidden @ weights["head.output.weight"].T + weights["head.output.bias"]
    found = head.reshape(len(rows), n_classes - 1, -1) + weights["head.prior_scale"] * recent[:, None]
    if "aligned.linear" not in weights:
        return found
    row, position, signals = rows.pair_row, rows.pair_position, rows.pair_signals
    if "cross.weight" in weights:
        crossed = (rows.cross @ weights["cross.weight"]).reshape(found.shape)
        crossed[row, :, position] = 0
        found = found + crossed
    context = hidden @ weights["aligned.context.weight"].T + weights["aligned.context.bias"]
    inputs = (
        signals,
        weights["aligned.embedding"][position],
        context[row],
        PRIOR_SCALE * recent[row, position][:, None],
        rows.customer[row],
    )
    flow = _layers(weights, "aligned", np.concatenate(inputs, axis=1))
    linear = weights["aligned.linear"].reshape(found.shape[2], n_classes - 1, -1)[position]
    own = flow @ weights["aligned.output.weight"].T + weights["aligned.output.bias"]
    found[row, :, position] += own + np.einsum("ps,pks->pk", signals, linear[:, :, :-1]) + linear[:, :, -1]
    return found


def _layers(weights, part, flow):
    number = 0
    while f"{part}.layers.{number}.weight" in weights:
        name = f"{part}.layers.{number}"
        flow = np.maximum(flow @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], 0)
        number += 1
    return flow
