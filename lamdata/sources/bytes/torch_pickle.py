"""A pickled PyTorch Geometric `Data`, or a file of `torch.save` -> numpy arrays, numbers and text, without torch and without unpickling.

A tensor is pickled as a view on a storage: either the storage's own `torch.save` bytes (`_load_from_bytes`) in the format before
torch 1.6, or a bytes object. Both are decoded here (torch/storage.py, torch/serialization.py:_legacy_save).
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .plain_pickle import Record, Refused, read_pickle
from .say import say

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
OPCODES_SAVED = 1_000_000  # of a checkpoint; a model of 100 MB with its optimizer has some 50,000
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip


class StorageType(str):
    """Name of a storage class: only a label, it cannot be called."""

    def __call__(self, *_: Any) -> None:
        raise Refused(f"it calls {self}")


STORAGE_NAMES = {f"torch {name}": StorageType(name) for name in STORAGES}


def read_record(raw: bytes) -> dict[str, Any]:
    """Return what a pickled `Data` holds, tensors as arrays."""
    value, _ = read_pickle(raw, NAMES)
    for _ in range(4):  # torch_geometric 2 keeps the fields in Data._store._mapping, 1 in Data itself
        if isinstance(value, Record):
            value = value.state
        if isinstance(value, tuple) and len(value) == 2:  # (state, slots)
            value = value[0] or value[1]
        inner = value.get("_store", value.get("_mapping")) if isinstance(value, dict) else None
        if inner is None and not isinstance(value, Record):
            break
        value = value if inner is None else inner
    if not isinstance(value, dict):
        raise Refused("no fields in it")
    return {str(key): item.array() if isinstance(item, _NumpyArray) else item for key, item in value.items()}


def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: a strided view on a flat storage, bounds checked, never larger than it."""
    shape, steps = tuple(map(int, size)), tuple(map(int, stride))
    if not isinstance(storage, np.ndarray) or len(shape) != len(steps) or min(shape + steps, default=0) < 0 or offset < 0:
        raise Refused("a tensor that is no view on a storage")
    last = int(offset) + sum((n - 1) * s for n, s in zip(shape, steps)) if math.prod(shape) else int(offset) - 1
    if last >= len(storage) or math.prod(shape) > len(storage):
        raise Refused("a tensor that leads out of its storage")
    strides = tuple(s * storage.itemsize for s in steps)
    return np.lib.stride_tricks.as_strided(storage[int(offset) :], shape, strides)


def storage(raw: Any) -> np.ndarray:
    """`torch.storage._load_from_bytes`: what `torch.save` made of one storage in its old format."""
    if not isinstance(raw, bytes):
        raise Refused("a storage that is not bytes")
    keys: list[Any] = []

    def persistent(identity: Any) -> Any:
        keys.append(identity)
        return identity

    at = 0
    values = []
    for _ in range(5):  # magic number, version, machine, storage, list of keys
        value, length = read_pickle(raw[at:], STORAGE_NAMES, persistent=persistent)
        values.append(value)
        at += length
    if values[0] != LEGACY_MAGIC or len(keys) != 1 or len(keys[0]) < 5 or not isinstance(keys[0][1], StorageType):
        raise Refused("a storage in a format that is not known")
    dtype, count = np.dtype(STORAGES[keys[0][1]]), int(keys[0][4])
    if len(raw) - at - 8 != count * dtype.itemsize or int.from_bytes(raw[at : at + 8], "little") != count:
        raise Refused(f"a storage of {count} {dtype} in {len(raw) - at - 8} bytes")
    return np.frombuffer(raw, dtype, count, at + 8)


class _NumpyDtype(Record):
    """Stand-in for `numpy.dtype("f8", ...)`."""

    def __init__(self, code: Any = "", *_: Any):
        super().__init__()
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "fiub":
            raise Refused(f"an array of {self.dtype}")

    @property
    def swapped(self) -> bool:
        """Whether it is big-endian, which its state says."""
        return isinstance(self.state, tuple) and len(self.state) > 1 and self.state[1] == ">"


class _NumpyArray(Record):
    """Stand-in for a numpy array, whose state is (version, shape, dtype, in Fortran order, bytes)."""

    def array(self) -> np.ndarray:
        """The array; refused where its parts do not fit."""
        try:
            _, shape, dtype, fortran, raw = self.state
            if not isinstance(dtype, _NumpyDtype) or dtype.swapped or math.prod(shape) * dtype.dtype.itemsize != len(raw):
                raise Refused("an array whose bytes do not fit its shape")
            return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")
        except (TypeError, ValueError) as err:
            raise Refused(f"an array that is none ({say(err)})") from None


def _numpy_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """`numpy._core.numeric._frombuffer` of pickle protocol 5."""
    out = _NumpyArray()
    out.state = (1, shape, dtype, order == "F", raw)
    return out.array()


def _numpy_scalar(dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, _NumpyDtype) or not isinstance(raw, bytes) or dtype.swapped or len(raw) != dtype.dtype.itemsize:
        raise Refused("a numpy scalar that is none")
    return np.frombuffer(raw, dtype.dtype)[0]


def _reconstructed(kind: Any, *_: Any) -> Record:
    """`copyreg._reconstructor(cls, object, None)` of the old pickle protocols."""
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise Refused("it constructs something that is not on the list")
    return kind()


NAMES: dict[str, Any] = {
    "torch_geometric.data.data Data": Record,
    "torch_geometric.data.storage GlobalStorage": Record,
    "torch_geometric.data.storage BaseStorage": Record,
    "torch._utils _rebuild_tensor_v2": tensor,
    "torch.storage _load_from_bytes": storage,
    "torch_geometric.data.data DataEdgeAttr": Record,
    "torch_geometric.data.data DataTensorAttr": Record,
    "collections OrderedDict": lambda *items: dict(*items),
    "copy_reg _reconstructor": _reconstructed,
    "copyreg _reconstructor": _reconstructed,
    "__builtin__ object": object,
    "builtins object": object,
    "torch Size": lambda items=(): tuple(items),
    "numpy dtype": _NumpyDtype,
    "numpy ndarray": _NumpyArray,
    "numpy.core.multiarray _reconstruct": _reconstructed,
    "numpy._core.multiarray _reconstruct": _reconstructed,
    "numpy.core.numeric _frombuffer": _numpy_buffer,
    "numpy._core.numeric _frombuffer": _numpy_buffer,
    "_codecs encode": lambda text, _: text.encode("latin1"),  # how protocols below 3 write bytes
    "__builtin__ bytes": lambda: b"",  # and no bytes
    "builtins bytes": lambda: b"",
    "numpy.core.multiarray scalar": _numpy_scalar,
    "numpy._core.multiarray scalar": _numpy_scalar,
}


def read_saved(path: Path, *, largest: int) -> Any:
    """Return the plain data in a file of `torch.save`, each tensor None; what was saved is at most `largest` bytes without its tensors."""
    with zipfile.ZipFile(path) as archive:
        (member,) = (item for item in archive.infolist() if item.filename.endswith("/data.pkl"))
        if member.file_size > largest:
            raise Refused(f"{member.file_size:,} bytes beside the tensors, more than {largest:,}")
        value, _ = read_pickle(archive.read(member), SAVED, persistent=lambda _: None, opcodes=OPCODES_SAVED)
    return value


def _nothing(*_: Any) -> None:
    """Stand-in for a tensor."""


SAVED: dict[str, Any] = {
    "collections OrderedDict": dict,
    "torch._utils _rebuild_tensor_v2": _nothing,
    "torch._utils _rebuild_parameter": _nothing,
    **STORAGE_NAMES,
}
