"""Pickles as data: what is plain comes back as `pickle` would give it, all else is refused in one line, and nothing is run."""

from __future__ import annotations

import collections
import datetime
import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.sources.bytes.plain_pickle import Record, Refused, read_pickle
from lamdata.sources.bytes.torch_pickle import NAMES, read_record, storage, tensor

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=12,
)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@settings(deadline=None, max_examples=80)
@given(PLAIN, st.sampled_from(PROTOCOLS))
def test_plain_data_come_back_under_every_protocol(value: object, protocol: int) -> None:
    raw = pickle.dumps(value, protocol)
    found, end = read_pickle(raw, NAMES)
    assert found == value and repr(found) == repr(value) and end == len(raw)


def test_what_stands_behind_a_pickle_is_left_alone() -> None:
    raw = pickle.dumps([1]) + pickle.dumps([2])
    first, end = read_pickle(raw, {})
    assert first == [1] and read_pickle(raw[end:], {})[0] == [2]


def test_one_object_in_two_places_stays_one() -> None:
    inner = [1, 2]
    found, _ = read_pickle(pickle.dumps({"a": inner, "b": inner}), {})
    assert found["a"] is found["b"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch owned",)


class Ours:
    pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Evil(), "it names 'posix.system', which is not data"),
        (Ours(), "which is not data"),
        (datetime.date(2020, 1, 1), "it names 'datetime.date', which is not data"),
        (print, "which is not data"),
        (collections.Counter("ab"), "it names 'collections.Counter', which is not data"),
        ({1, 2}, "opcode ADDITEMS is not allowed"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_no_data_is_refused_by_name(value: object, said: str, protocol: int) -> None:
    with pytest.raises(Refused) as caught:
        read_pickle(pickle.dumps(value, protocol), NAMES)
    text = str(caught.value)
    assert "\n" not in text and (said in text or protocol == 2) and "not" in text
    assert not os.path.exists("owned")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not a pickle of plain data|ends without STOP"),
        (b"hello", "not a pickle of plain data"),
        (b"N", "not a pickle of plain data|ends without STOP"),
        (b".", "not a pickle of plain data"),
        (b"0.", "not a pickle of plain data"),
        (b"t.", "it looks for a mark that is not there"),
        (b"d.", "it looks for a mark that is not there"),
        (b"]K\x01e.", "it looks for a mark that is not there"),
        (b"h\x05.", "not a pickle of plain data"),
        (b"K\x01K\x02K\x03s.", "not a pickle of plain data"),
        (b"K\x01a.", "not a pickle of plain data"),
        (b"(K\x01d.", "not a pickle of plain data"),
        (b"K\x01K\x02b.", "it sets the state of something that is not on the list"),
        (b"cbuiltins\nobject\nK\x01b.", "it sets the state of something that is not on the list"),
        (b"K\x01)R.", "it calls something that is not on the list"),
        (b"K\x01Q.", "it has a persistent id"),
        (b"Pabc\n.", "opcode PERSID is not allowed"),
        (b"\x82\x01.", "opcode EXT1 is not allowed"),
        (b"ccopyreg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR.", "it constructs something that is not on the list"),
        (b"cnumpy\ndtype\n(Vf8,(\ntR.", "not a pickle of plain data"),
        (b"cnumpy\ndtype\n(VO8\ntR.", "an array of object"),
    ],
)
def test_a_pickle_that_is_not_well_formed_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        read_pickle(raw, NAMES)


def test_a_pickle_without_end_is_cut_off() -> None:
    with pytest.raises(Refused, match="more than 50 opcodes"):
        read_pickle(pickle.dumps(list(range(100))), {}, opcodes=50)


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=60))
def test_any_bytes_are_data_or_refused(raw: bytes) -> None:
    try:
        read_pickle(raw, NAMES)
    except Refused as err:
        assert "\n" not in str(err)


def legacy(values: np.ndarray, kind: str, *, count: int | None = None, tail: bytes = b"", magic: int = 0x1950A86A20F9469CFC6C) -> bytes:
    """What `torch.save(storage, _use_new_zipfile_serialization=False)` writes, by hand."""
    out = io.BytesIO()
    for item in (magic, 1001, {"little_endian": True}):
        pickle.dump(item, out, 2)
    raw = b"\x80\x02(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    raw += b"J" + struct.pack("<i", len(values)) + b"NtQ."
    out.write(raw)
    pickle.dump(["0"], out, 2)
    out.write(struct.pack("<q", len(values) if count is None else count) + values.tobytes() + tail)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", "<f8"),
        ("FloatStorage", "<f4"),
        ("LongStorage", "<i8"),
        ("BoolStorage", "?"),
        ("ByteStorage", "<u1"),
        ("HalfStorage", "<f2"),
    ],
)
def test_a_storage_is_the_numbers_that_were_saved(kind: str, dtype: str) -> None:
    values = np.array([0, 1, 3, 1]).astype(dtype)
    found = storage(legacy(values, kind))
    assert found.dtype == values.dtype and found.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (3, "a storage that is not bytes"),
        (legacy(np.zeros(2), "DoubleStorage", magic=7), "a storage in a format that is not known"),
        (legacy(np.zeros(2), "DoubleStorage", count=3), "a storage of 2 float64 in 16 bytes"),
        (legacy(np.zeros(2), "DoubleStorage", tail=b"x"), "a storage of 2 float64 in 17 bytes"),
        (legacy(np.zeros(2), "DoubleStorage")[:-9], "a storage of 2 float64 in "),
        (legacy(np.zeros(2), "ComplexStorage"), "it names 'torch.ComplexStorage', which is not data"),
        (b"", "not a pickle|ends without STOP"),
    ],
)
def test_a_storage_that_does_not_fit_what_it_says_is_refused(raw: object, said: str) -> None:
    with pytest.raises(Refused, match=said):
        storage(raw)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=3), st.lists(st.integers(0, 5), max_size=3), st.integers(0, 12))
def test_a_tensor_is_a_view_inside_its_storage_or_refused(shape: list[int], steps: list[int], offset: int) -> None:
    flat = np.arange(12.0)
    try:
        found = tensor(flat, offset, tuple(shape), tuple(steps))
    except Refused:
        ends = [offset + sum((n - 1) * s for n, s in zip(shape, steps))] if 0 not in shape else []
        assert len(shape) != len(steps) or max(ends, default=offset - 1) >= 12 or np.prod(shape) > 12
        return
    assert found.shape == tuple(shape) and (found.size == 0 or found.flat[0] == flat[offset])
    for index in np.ndindex(*shape):
        assert found[index] == flat[offset + sum(i * s for i, s in zip(index, steps))]


@pytest.mark.parametrize(
    "given_", [(None, 0, (2,), (1,)), (np.zeros(4), -1, (2,), (1,)), (np.zeros(4), 0, (-2,), (1,)), (np.zeros(4), 0, (2,), (-1,))]
)
def test_a_tensor_of_nothing_or_backwards_is_refused(given_: tuple) -> None:
    with pytest.raises(Refused, match="a tensor that is no view on a storage"):
        tensor(*given_)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("order", "CF")
def test_numpy_arrays_and_scalars_of_a_record_are_numbers(protocol: int, order: str) -> None:
    data = {"pos": np.arange(6.0).reshape(2, 3, order=order), "y": np.float64(1.5), "tags": np.array([1, 2], np.int32)}
    found = read_record(pickle.dumps(data, protocol))
    np.testing.assert_array_equal(found["pos"], data["pos"])
    assert found["y"] == 1.5 and found["tags"].tolist() == [1, 2]


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([1 + 1j]), np.array([{}], object), np.arange(3.0).astype(">f8")])
def test_arrays_that_hold_no_plain_numbers_are_refused(value: np.ndarray) -> None:
    with pytest.raises(Refused, match="an array"):
        read_record(pickle.dumps({"pos": value}, 2))


@pytest.mark.parametrize("value", [3, "text", [1], None])
def test_a_record_without_fields_is_refused(value: object) -> None:
    with pytest.raises(Refused, match="no fields in it"):
        read_record(pickle.dumps(value))


def test_a_record_is_what_an_object_would_have_held() -> None:
    record = Record("ignored")
    assert record.state == {}
