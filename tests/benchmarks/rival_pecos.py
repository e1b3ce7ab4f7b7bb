"""PECOS's linear models, for bench_rivals.py: python rival_pecos.py DIRECTORY NAME THREADS LEAF

XR-Linear (Yu et al. 2022, "PECOS: Prediction for Enormous and Correlated Output Spaces") with logistic loss, over a
tree of label clusters (PIFA embeddings, hierarchical k-means) of at most LEAF labels each, or with LEAF 0 flat, which
is one-vs-rest. A label's probability is the product along its path; all labels are asked for. Runs in `.venv-peers`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import rival_matrices
from scipy.sparse import csc_matrix, csr_matrix

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pecos.xmc import Indexer, LabelEmbeddingFactory
    from pecos.xmc.xlinear.model import XLinearModel

warnings.filterwarnings("ignore", category=DeprecationWarning)  # of scipy's names that PECOS uses


def fit(features: csr_matrix, labels: csr_matrix, inverse_penalty: float) -> rival_matrices.Predict:
    threads, leaf = int(sys.argv[3]), int(sys.argv[4])
    given, wanted = csr_matrix(features, dtype=np.float32), csc_matrix(labels, dtype=np.float32)
    clusters = None
    if leaf:
        embedding = LabelEmbeddingFactory.create(wanted, given, method="pifa")
        clusters = Indexer.gen(
            embedding, indexer_type="hierarchicalkmeans", nr_splits=8, max_leaf_size=leaf, threads=threads, seed=7
        )
    model = XLinearModel.train(
        given,
        wanted,
        C=clusters,
        solver_type="L2R_LR_DUAL",
        Cp=inverse_penalty,
        Cn=inverse_penalty,
        bias=10.0,
        threshold=0.0,
        threads=threads,
    )

    def predict(rows: csr_matrix) -> np.ndarray:
        n_labels = labels.shape[1]
        found = model.predict(
            csr_matrix(rows, dtype=np.float32),
            only_topk=n_labels,
            beam_size=n_labels,
            post_processor="sigmoid",
            threads=threads,
        )
        return np.asarray(found.todense())

    return predict


if __name__ == "__main__":
    rival_matrices.fit_and_predict(Path(sys.argv[1]), sys.argv[2], fit)
