"""CSV files as Arrow batches of text that know their line numbers.

Python's csv module rather than DuckDB's reader, which is about three times as fast: with quoted line breaks or blank
lines DuckDB can't say which line a record stands on, and one stray quote makes its sniffer give up quoting for the
whole file. Here a broken record costs that record, and its line is known.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa

from propensity.errors import InputError
from propensity.warehouse.staged_rows import BATCH_ROWS, check_names, text_batch

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.progress import Progress

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_DELIMITERS = ",;\t|"
_MOST_RAW_CHARACTERS = 4_000
_UNREADABLE = (OSError, EOFError, zlib.error)


def csv_batches(path: Path, progress: Progress) -> Iterator[pa.RecordBatch]:
    """Yield the file's records as text; see `staged_rows` for the batches' columns.

    UTF-8 with a header line; the delimiter is the one of `, ; tab |` that the header has most of. `source_line` is
    the line a record begins on, the header being line 1. A record that can't be parsed, has another number of fields
    than the header, or isn't UTF-8 is a row with `unreadable` set to its text.

    Raises:
        InputError: The file can't be read at all, or its header names a column twice.
    """
    try:
        with ExitStack() as open_files:
            binary = open_files.enter_context(path.open("rb"))
            if binary.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise InputError(f"{path} is UTF-16. Save it as UTF-8.")
            plain: IO[bytes] = cast("IO[bytes]", gzip.GzipFile(fileobj=binary)) if path.suffix == ".gz" else binary
            # Bytes that are no UTF-8 come through as surrogates, so that their line can be set aside alone.
            text = open_files.enter_context(
                TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="")
            )
            size = path.stat().st_size
            for batch in _batches(path, text):
                yield batch
                progress(f"Reading {path.name}", min(binary.tell(), size), size)
    except _UNREADABLE as error:
        raise InputError(f"Can't read {path}: {error}. Mend the file, or make it again.") from error


class _Lines:
    """A file's lines, counted; those of the current record can be given back."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._waiting: deque[str] = deque()
        self.record: list[str] = []
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._text)
        self.record.append(line)
        self.number += 1
        return line

    def give_back_all_but_first(self) -> None:
        """Read the record's later lines again: an open quote must not swallow them."""
        self._waiting.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record) - 1
        del self.record[1:]


def _batches(path: Path, text: IO[str]) -> Iterator[pa.RecordBatch]:
    lines = _Lines(text)
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        names = check_names(next(csv.reader([first], delimiter=delimiter, strict=True), []), str(path))
    except csv.Error as error:
        raise InputError(f"{path}, line 1: the header can't be read: {error}. Mend the header.") from error
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    good: list[tuple[int, list[str]]] = []
    bad: list[tuple[int, str]] = []
    while True:
        lines.record.clear()
        line = lines.number + 1
        try:
            fields = next(reader, None)
        except csv.Error:
            lines.give_back_all_but_first()
            bad.append((line, lines.record[0]))
            # The old reader may still hold an open quote.
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            fields = []
        if fields is None or len(good) + len(bad) >= BATCH_ROWS:
            yield from _flush(names, good, bad)
        if fields is None:
            return
        if not any(fields):
            continue  # spreadsheets leave such lines behind
        if len(fields) == len(names):
            good.append((line, fields))
        else:
            bad.append((line, "".join(lines.record)))


def _flush(names: list[str], good: list[tuple[int, list[str]]], bad: list[tuple[int, str]]) -> Iterator[pa.RecordBatch]:
    decoded = [row for row in good if _is_utf8(row[1])] if not _all_utf8(good) else good
    if len(decoded) < len(good):
        bad += [(line, "\t".join(fields)) for line, fields in good if not _is_utf8(fields)]
    if decoded:
        columns = list(zip(*(fields for _, fields in decoded), strict=True))
        yield text_batch(names, [line for line, _ in decoded], columns)
    if bad:
        raw = [text.rstrip("\r\n")[:_MOST_RAW_CHARACTERS] for _, text in bad]
        readable = [text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for text in raw]
        yield text_batch(names, [line for line, _ in bad], [(None,) * len(bad)] * len(names), unreadable=readable)
    good.clear()
    bad.clear()


def _all_utf8(rows: list[tuple[int, list[str]]]) -> bool:
    return _is_utf8(["".join(fields) for _, fields in rows])


def _is_utf8(fields: list[str]) -> bool:
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return False
    return True
