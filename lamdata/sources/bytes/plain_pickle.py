"""A pickle -> the plain data in it, without running anything.

Unpickling calls whatever the file names. Here the opcodes are walked (`pickletools`), a name becomes the stand-in that the
caller lists for it, and anything else is refused. Sizes are bounded by the length of the input.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from .say import say

MAX_OPCODES = 100_000


class Refused(ValueError):
    """The pickle names something that is not on the list, or is not well formed."""


class Record:
    """Stand-in for an object: what the pickle would have put into it."""

    def __init__(self, *_args: Any):
        self.state: Any = {}


class _Mark:
    pass


MARK = _Mark()
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTIES: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
VALUES = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "UNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING", "STRING",
}  # fmt: skip


def read_pickle(
    data: bytes, names: Mapping[str, Callable[..., Any]], *, persistent: Callable[[Any], Any] | None = None, opcodes: int = MAX_OPCODES
) -> tuple[Any, int]:
    """Return the object in a pickle and where the pickle ends.

    `names` maps "module name" to the stand-in called in its place; `persistent` resolves persistent ids; with more `opcodes` it is refused.
    """
    machine = _Machine(names, persistent)
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if opcode.name == "STOP":
                return machine.stack.pop(), (position or 0) + 1
            if count > opcodes:
                raise Refused(f"more than {opcodes} opcodes")
            machine.run(opcode.name, argument)
    except Refused:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError, RecursionError, SyntaxError) as err:
        raise Refused(f"not a pickle of plain data ({say(err)})") from err
    raise Refused("ends without STOP")


class _Machine:
    """The pickle machine without imports and calls."""

    def __init__(self, names: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any] | None):
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTIES:
            self.stack.append(EMPTIES[name]())
        elif name in ("PROTO", "FRAME"):
            pass
        else:
            step = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise Refused(f"opcode {name} is not allowed")
            step(argument)

    def _mark(self, _: Any) -> None:
        self.stack.append(MARK)

    def _since_mark(self) -> list[Any]:
        at = next((i for i in reversed(range(len(self.stack))) if self.stack[i] is MARK), None)
        if at is None:
            raise Refused("it looks for a mark that is not there")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _put(self, index: Any) -> None:
        self.memo[int(index)] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, index: Any) -> None:
        self.stack.append(self.memo[int(index)])

    _binget = _long_binget = _get

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self._last(1)

    def _tuple2(self, _: Any) -> None:
        self._last(2)

    def _tuple3(self, _: Any) -> None:
        self._last(3)

    def _last(self, n: int) -> None:
        items = tuple(self.stack[-n:])
        del self.stack[-n:]
        self.stack.append(items)

    def _list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        list.append(self.stack[-1], value)

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        list.extend(self.stack[-1], items)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        dict.__setitem__(self.stack[-1], key, value)

    def _setitems(self, _: Any) -> None:
        items = self._since_mark()
        dict.update(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def _global(self, argument: str) -> None:
        self.stack.append(self._find(argument))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self._find(f"{module} {name}"))

    def _find(self, name: str) -> Callable[..., Any]:
        if name not in self.names:
            raise Refused(f"it names {name.replace(' ', '.')[:80]!r}, which is not data")
        return self.names[name]

    def _call(self, function: Any, arguments: Any) -> None:
        if not any(function is known for known in self.names.values()):
            raise Refused("it calls something that is not on the list")
        self.stack.append(function(*arguments))

    def _reduce(self, _: Any) -> None:
        arguments = self.stack.pop()
        self._call(self.stack.pop(), arguments)

    def _newobj(self, _: Any) -> None:
        self._reduce(_)

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Record):
            raise Refused("it sets the state of something that is not on the list")
        target.state = state

    def _binpersid(self, _: Any) -> None:
        if self.persistent is None:
            raise Refused("it has a persistent id")
        self.stack.append(self.persistent(self.stack.pop()))
