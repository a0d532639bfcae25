"""DeePMD-kit's frozen `.pth` -> ForeignFile, without running it.

A TorchScript archive is a zip with code, `data.pkl` (the tree of modules) and one file for each tensor. `torch.jit.load` would
compile and hold the code; here the tree is unpickled with every class replaced by a plain namespace, so that a file can only
describe attributes and point at bytes.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from lamdata.errors import DataError, SourceError

from .foreign import DEFAULT, Branch, ForeignFile, clean_tensors
from .nets import Array

STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "BoolStorage": np.bool_,
}


class Node:
    """A module of the archive: its attributes and no behaviour."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def read_frozen(path: Path) -> ForeignFile:
    """Read the weights and the options of a `.pth`; refuse what is not laid out as DeePMD-kit's."""
    try:
        with zipfile.ZipFile(path) as archive:
            root = TreeReader.read(archive)
    except OSError as err:
        raise SourceError(f"cannot be read: {err.strerror or err}", where=str(path)) from err
    except (zipfile.BadZipFile, KeyError, pickle.UnpicklingError, AttributeError) as err:
        raise DataError(f"not a TorchScript archive that can be read without running it ({err})", where=str(path)) from err
    script = getattr(root, "model_def_script", "")
    if not isinstance(script, str) or not script:
        raise DataError("no `model_def_script`: not a model that `dp --pt freeze` wrote", where=str(path))
    branch = Branch(params=json.loads(script), tensors=clean_tensors(collect_tensors(root), where=str(path)))
    return ForeignFile(path=path, branches={DEFAULT: branch})


def collect_tensors(node: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return every tensor under `node` by its dotted name: what its state dictionary would be."""
    found: dict[str, torch.Tensor] = {}
    for name, value in vars(node).items():
        if isinstance(value, torch.Tensor):
            found[prefix + name] = value
        elif isinstance(value, Node):
            found |= collect_tensors(value, f"{prefix}{name}.")
    return found


class TreeReader(pickle.Unpickler):
    """Unpickles `data.pkl` into Nodes and tensors; a name outside the short list below is an error."""

    def __init__(self, stream: IO[bytes], archive: zipfile.ZipFile, top: str):
        super().__init__(stream)
        self.archive, self.top = archive, top

    @classmethod
    def read(cls, archive: zipfile.ZipFile) -> Node:
        """Return the root module of an archive."""
        top = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        with archive.open(f"{top}data.pkl") as stream:
            root: Node = cls(stream, archive, top).load()
            return root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return Node
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, requires_grad, hooks: tensor,
            ("collections", "OrderedDict"): dict,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch.jit._pickle":  # typed lists; restore_type_tag(value, type)
            return lambda value, *_: value
        raise pickle.UnpicklingError(f"unexpected {module}.{name}")

    def persistent_load(self, pid: tuple[Any, ...]) -> Array:
        _, dtype, key, _, count = pid
        return np.frombuffer(self.archive.read(f"{self.top}data/{key}"), dtype)[:count]


def _rebuild_tensor(storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> torch.Tensor:
    """The arguments of `torch._utils._rebuild_tensor_v2`; the bytes are copied, so that the archive may close."""
    return torch.from_numpy(storage.copy()).as_strided(size, stride, offset).clone()
