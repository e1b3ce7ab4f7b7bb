"""scikit-learn's one-vs-rest logistic regression for bench_rivals.py: python rival_sklearn.py DIRECTORY NAME THREADS"""

from __future__ import annotations

import sys
from pathlib import Path

import rival_matrices
from joblib import parallel_config
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier


def fit(features: csr_matrix, labels: csr_matrix, inverse_penalty: float) -> rival_matrices.Predict:
    # A large scale hardly penalises the intercept, which is a column like any other to liblinear.
    one = LogisticRegression(C=inverse_penalty, solver="liblinear", tol=1e-2, intercept_scaling=10.0, random_state=7)
    # liblinear releases the GIL.
    with parallel_config("threading"):
        model = OneVsRestClassifier(one, n_jobs=int(sys.argv[3])).fit(features, labels)
    return model.predict_proba


if __name__ == "__main__":
    rival_matrices.fit_and_predict(Path(sys.argv[1]), sys.argv[2], fit)
