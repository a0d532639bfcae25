"""The public names of lamdata and lamtrain -> the page of the Python API, whose text mkdocstrings takes from the docstrings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

INTRODUCTION = """Everything here is imported from `lamdata` or `lamtrain` itself, and nothing else of the packages is a promise, but for
`lamtrain.simulation.TorchSimModel` and `lamtrain.properties.measure`:

```python
from lamdata import open_dataset, Stream, StreamHead
from lamtrain import load_model, Calculator
```

Units are eV, Å and eV/Å; a missing label is `None`.
"""


def api_page() -> str:
    """One section a name."""
    import lamdata
    import lamtrain

    parts = ["# Python API\n", INTRODUCTION]
    for package, name in [(each, name) for each in (lamdata, lamtrain) for name in each.__all__]:
        value = getattr(package, name)
        path = f"{package.__name__}.{package._PUBLIC[name]}.{name}"
        parts += _dataclass(path, value) if dataclasses.is_dataclass(value) else [f"::: {path}\n"]
    return "\n".join(parts)


def _dataclass(path: str, value: Any) -> Iterator[str]:
    """A dataclass, whose fields are explained by the comments beside them, then its methods."""
    yield f"::: {path}\n    options: {{members: false}}\n"
    yield f"```python\n{_fields(value)}\n```\n"
    for name, member in vars(value).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, (property, classmethod, staticmethod))):
            yield f"::: {path}.{name}\n    options: {{heading_level: 3}}\n"


def _fields(value: Any) -> str:
    lines = inspect.getsource(value).splitlines()
    body = ast.parse(inspect.cleandoc("\n".join(lines))).body[0]
    assert isinstance(body, ast.ClassDef)
    fields = [node for node in body.body if isinstance(node, ast.AnnAssign)]
    return inspect.cleandoc("\n".join(lines[fields[0].lineno - 1 : fields[-1].end_lineno]))
