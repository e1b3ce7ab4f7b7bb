"""A reader that polls the lake while it is written to."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pyarrow.parquet as pq

from tests.scoring.large_snapshot import CUSTOMERS, first_publication


class Watch(threading.Thread):
    """Reads publications all the while, past the catalogue, and keeps the numbers of customers it saw."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home, self.seen, self.error = home, set(), None
        self._first, self._over = first_publication(home), threading.Event()

    def run(self) -> None:
        try:
            while not self._over.is_set():
                for run in self.home.glob("lake/category_propensity/*/*/run=*"):
                    if run != self._first:
                        self.seen.add(sum(pq.read_metadata(file).num_rows for file in run.glob("*.parquet")))
                time.sleep(0.002)
        except BaseException as error:  # noqa: BLE001 - told at the end
            self.error = error

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop.

        Raises:
            AssertionError: A reader saw a part of a run.
        """
        self._over.set()
        self.join()
        assert self.error is None
        assert self.seen <= {CUSTOMERS}, "a reader saw a part of a run"
