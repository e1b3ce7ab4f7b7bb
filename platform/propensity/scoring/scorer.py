"""The scorer: RecordBatch in, RecordBatch out, with no training framework.

The same batch has the same result to the last bit, whatever the number of threads; how rows are split into batches
changes the last bits at most (`models.forward_pass`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from propensity.columns import CUSTOMER_ID, EVENT_TIMESTAMP, TOP_CATEGORIES, TOP_PROPENSITIES
from propensity.errors import InputError
from propensity.features.vectors import csr_from_lists, list_pairs, lists_from_matrix
from propensity.models.artifact import read_artifact
from propensity.scoring.output_forms import FULL, OutputForm
from propensity.scoring.top_categories import write_highest

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_matrix

    from propensity.models.bfloat16 import WeightFormat
    from propensity.models.encoded_rows import EncodedRows
    from propensity.models.model import Model
    from propensity.scoring.output_forms import NewArray
    from propensity.training.examples import Examples

ENCODE_ROWS: Final = 4096
"""Rows encoded at a time; bounds memory, changes no result."""


class Scorer:
    """One opened model.

    Attributes:
        model: The model.
        category_index: Stable index of each output, int32, (n_categories,): the order of `propensities`.
        categories: Their names.
    """

    def __init__(
        self,
        model: Model,
        popularity: Mapping[int, float] | None = None,
        *,
        top_k: int = 20,
        threads: int = 1,
        sparse_format: WeightFormat = "float32",
    ) -> None:
        """Wrap a model.

        Args:
            model: From `read_artifact` or `FittedModel.model`.
            popularity: Share of customers who bought in the last 30 days, by `category_index`, at the scoring
                as_of; a category it lacks counts as bought by nobody. None takes the newest training as_of's.
            top_k: Length of `top_categories`; shorter when the model has fewer categories.
            threads: That share the rows of a call; changes no bit.
            sparse_format: To hold the weights of the model's sparse layers in; see `models.bfloat16`.
        """
        encoder = model.encoder
        self.model = model
        self.category_index = encoder.category_index
        self.categories = encoder.categories
        self._top_k = min(top_k, len(encoder.categories))
        self._threads = threads
        self._forward = model.forward_in(sparse_format)
        shares = np.zeros(int(encoder.category_index[-1]) + 1, np.float32)
        if popularity is None:
            shares[encoder.category_index] = model.popularity_default
        else:
            for index in encoder.category_index.tolist():
                shares[index] = popularity.get(index, 0.0)
        self._prior = encoder.prior(shares[None])

    @classmethod
    def open(
        cls,
        directory: Path,
        popularity: Mapping[int, float] | None = None,
        *,
        top_k: int = 20,
        threads: int = 1,
        sparse_format: WeightFormat = "float32",
    ) -> Scorer:
        """Open an artifact; arguments as for Scorer.

        Raises:
            ArtifactError: It's missing, damaged, foreign or too new.
        """
        model = read_artifact(directory).model
        return cls(model, popularity, top_k=top_k, threads=threads, sparse_format=sparse_format)

    def score(self, batch: pa.RecordBatch, form: OutputForm = FULL, new_array: NewArray = np.empty) -> pa.RecordBatch:
        """Score customers.

        Args:
            batch: `customer_id`, `event_timestamp` and any number of pairs of list columns `indices`,
                `values` or `<view>__indices`, `<view>__values`; a null list is an empty one. Other columns
                are ignored.
            form: What to keep of the scores; every score by default.
            new_array: Makes the array of those that are kept all.

        Returns:
            customer_id and event_timestamp as given; `propensities` list<float32>: probability that the class
            is above 0, in the order of `category_index`; `top_categories` list<int32>: stable indices of the
            `top_k` highest, highest first, and `top_propensities` list<float32>. With more classes than two also
            `class_propensities`, see `columns.CLASS_PROPENSITIES`. Where another form was asked for, these vectors are
            null and its own columns are there.

        Raises:
            InputError: A column is missing or a vector is malformed.
        """
        for name in (CUSTOMER_ID, EVENT_TIMESTAMP):
            if name not in batch.schema.names:
                raise InputError(f"Column {name!r} is missing. Existing columns: {', '.join(batch.schema.names)}")
        pairs = list_pairs(batch)
        if not pairs:
            raise InputError(f"No feature vectors. Existing columns: {', '.join(batch.schema.names)}")
        features = csr_from_lists(pairs, self.model.encoder.n_features)
        kept = form.keep(batch.num_rows, self.model.n_classes, self.category_index, new_array)
        top = np.empty((batch.num_rows, self._top_k), np.int32)
        top_scores = np.empty(top.shape, np.float32)

        def take(first: int, start: int, scores: npt.NDArray[np.float32]) -> None:
            here = slice(first + start, first + start + len(scores))
            write_highest(scores[:, 0], top[here], top_scores[here])
            kept.take(here.start, scores)

        as_of_position = np.zeros(batch.num_rows, np.int32)
        for chunk, rows in self._encoded(features):
            self._forward.hand_on_probabilities(
                rows,
                self._prior,
                as_of_position[chunk],
                self.model.calibration,
                partial(take, chunk.start),
                None if kept.full is None else kept.full[chunk],
                self._threads,
            )
        columns = {
            CUSTOMER_ID: batch.column(CUSTOMER_ID),
            EVENT_TIMESTAMP: batch.column(EVENT_TIMESTAMP),
            **kept.columns(),
            TOP_CATEGORIES: lists_from_matrix(self.category_index[top]),
            TOP_PROPENSITIES: lists_from_matrix(top_scores),
        }
        return pa.RecordBatch.from_pydict(columns)

    def score_examples(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return propensities, float32, (n_examples, n_categories), by each row's popularity; for evaluation.

        A category of the catalogue that isn't in `category_index` has `model.unseen_category_prior`.
        """
        return self.examples_at_least(examples)[:, 0]

    def examples_at_least(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return the probabilities of class k or a higher one, float32, (n_examples, K - 1, n_categories).

        As `score_examples`, which gives those of k = 1.
        """
        prior = self.model.encoder.prior(examples.popularity)
        n_rows = examples.features.shape[0]
        scores = np.empty((n_rows, self.model.n_classes - 1, len(self.categories)), np.float32)
        for chunk, rows in self._encoded(examples.features):
            self._forward.write_probabilities(
                rows, prior, examples.as_of_position[chunk], self.model.calibration, scores[chunk], self._threads
            )
        return scores

    def _encoded(self, features: csr_matrix) -> Iterator[tuple[slice, EncodedRows]]:
        """Yield the rows encoded, ENCODE_ROWS at a time, and which they are."""
        for start in range(0, features.shape[0], ENCODE_ROWS):
            chunk = slice(start, start + ENCODE_ROWS)
            yield chunk, self.model.encoder.transform(features[chunk])
