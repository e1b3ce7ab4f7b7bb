"""Arrow columns as the bytes of Feast's protobuf messages, without a Python object per number.

The wire format is protobuf's (https://protobuf.dev/programming-guides/encoding), the fields are those of Feast's
`Value.proto`; a test holds the result against Feast's own conversion.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, FeastType, Float32, Int32, String

_LENGTH_DELIMITED: Final = 2
_LIST_OF_NUMBERS: Final = b"\x0a"
"""Field 1 of Int32List and FloatList: `repeated … val`, packed."""
_KEY_VERSION: Final = 3


def encoded_values(column: pa.Array, kind: FeastType) -> list[bytes] | None:
    """Return each row's serialized `Value`, that of a NULL being empty.

    Args:
        column: Of strings, or of lists of float32 or int32.
        kind: The feature's type by its view.

    Returns:
        None where Feast's own conversion is needed: another type, NULLs or negative numbers in lists.
    """
    if kind == String and (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        tag = _tag("string_val")
        texts = (None if text is None else text.encode() for text in column.to_pylist())
        return [b"" if text is None else tag + _varint(len(text)) + text for text in texts]
    if not pa.types.is_list(column.type) or column.values.null_count:
        return None
    offsets, valid = column.offsets.to_numpy(), column.is_valid().to_pylist()
    numbers = column.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
    starts = offsets - offsets[0]
    if kind == Array(Float32) and numbers.dtype == np.float32:
        return _packed(_tag("float_list_val"), numbers.astype("<f4", copy=False).tobytes(), 4 * starts, valid)
    if kind == Array(Int32) and numbers.dtype == np.int32 and (numbers >= 0).all():
        data, ends = _varints(numbers)
        return _packed(_tag("int32_list_val"), data, ends[starts], valid)
    return None


def encoded_keys(join_key: str, column: pa.Array, key_version: int) -> list[bytes] | None:
    """Return each row's serialized entity key; None where Feast's own conversion is needed: no plain string key."""
    if key_version != _KEY_VERSION or not pa.types.is_string(column.type) or column.null_count:
        return None
    empty: bytes = serialize_entity_key(
        EntityKey(join_keys=[join_key], entity_values=[Value(string_val="")]), entity_key_serialization_version=3
    )
    before = empty[:-4]  # what follows is the string's length, and the string
    return [before + struct.pack("<I", len(text)) + text for text in (key.encode() for key in column.to_pylist())]


def _packed(tag: bytes, data: bytes, ends: npt.NDArray[np.int64], valid: Sequence[bool]) -> list[bytes]:
    """Return messages of one packed list each; `ends` has the bytes before each row, and their sum."""

    @cache
    def head(size: int) -> bytes:
        inner = _LIST_OF_NUMBERS + _varint(size) if size else b""
        return tag + _varint(len(inner) + size) + inner

    places = ends.tolist()
    return [
        head(end - start) + data[start:end] if is_there else b""
        for start, end, is_there in zip(places, places[1:], valid, strict=False)
    ]


def _varints(numbers: npt.NDArray[np.int32]) -> tuple[bytes, npt.NDArray[np.int64]]:
    """Return non-negative numbers as varints in one string, and how many bytes lie before each, and their sum."""
    rest = numbers.astype(np.uint32)
    sizes = np.ones(len(rest), np.int64)
    for shift in (7, 14, 21, 28):
        sizes += rest >> shift > 0
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    data = np.empty(ends[-1], np.uint8)
    for place in range(5):
        here = sizes > place
        more = (sizes[here] > place + 1).astype(np.uint8) << 7
        data[ends[:-1][here] + place] = (rest[here] >> (7 * place) & 0x7F).astype(np.uint8) | more
    return data.tobytes(), ends


@cache
def _tag(field: str) -> bytes:
    return _varint(Value.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
