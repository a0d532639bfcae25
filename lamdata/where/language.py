"""Language: the text of an expression -> its tree, or where it goes wrong and what to try next.

The grammar is that of Python's comparisons; Python's own parser reads it, and of the tree that it gives nothing is run: what is not named
here is an error.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable
from typing import NoReturn

from ..elements import NUMBERS, SYMBOLS
from ..errors import ConfigError
from ..located import did_you_mean
from .tree import (
    LABELS,
    QUANTITIES,
    TEXTS,
    AllOf,
    Arithmetic,
    Both,
    Compare,
    Condition,
    CountOf,
    Either,
    HasLabel,
    Info,
    InSplit,
    Not,
    Number,
    Numeric,
    OnlyOf,
    Quantity,
    TextIn,
    TextLike,
)  # fmt: skip

LONGEST, DEEPEST = 4000, 60  # characters, and expressions inside one another
SPLITS = ("train", "validation", "test")
NAMES = [*QUANTITIES, *TEXTS, "elements", "split"]
INFO = 'info["config_type"]'
CALLS = {"has": "has(Li), has(Li, O) or has(forces)", "n": "n(O)", "matches": 'matches(origin, "*/OUTCAR#*")'}
ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
EXAMPLE = "an expression is like `natoms <= 64 and has(Li)`"
INSTEAD: dict[type[ast.AST], str] = {
    ast.BitAnd: "write `and`",
    ast.BitOr: "write `or`",
    ast.Pow: "write a product",
    ast.Mod: "there are + - * /",
    ast.Is: "write `==`",
    ast.IsNot: "write `!=`",
}


def parse(text: str) -> Condition:
    """The tree of an expression. Raises ConfigError, which names the column and what may stand there."""
    line = " ".join(text.splitlines())
    if len(line) > LONGEST:
        raise ConfigError(
            f"the expression has {len(line)} characters", hint=f"it may have {LONGEST}; a list of frames is `lamdata select --from-list`"
        )
    left = len(line) - len(line.lstrip())
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python, to whom it says things that it does not say here
            tree = ast.parse(line.strip(), mode="eval").body
    except SyntaxError as err:
        raise ConfigError(_of_syntax(err), where=f"column {left + max(1, err.offset or 1)}", hint=_next_of_syntax(line)) from None
    except (ValueError, MemoryError, RecursionError):  # a zero byte, brackets without end
        raise ConfigError("this is no expression", where="column 1", hint=EXAMPLE) from None
    return _Reader(line.strip(), left).condition(tree, 0)


def _of_syntax(err: SyntaxError) -> str:
    words = (err.msg or "this is no expression").partition(". ")[0].partition(" (")[0]
    return words[0].lower() + words[1:]


def _next_of_syntax(line: str) -> str:
    if not line.strip():
        return EXAMPLE
    for wrong, right in (("&&", "write `and`"), ("||", "write `or`"), ("<>", "write `!=`")):
        if wrong in line:
            return right
    bare = line.replace("==", "").replace("<=", "").replace(">=", "").replace("!=", "")
    return "write `==` to compare" if "=" in bare else "write `not`" if "!" in bare else EXAMPLE


class _Reader:
    """Python's tree -> ours."""

    def __init__(self, line: str, left: int) -> None:
        self._line, self._left = line.encode(), left

    def _refuse(self, node: ast.AST, what: str, hint: str) -> NoReturn:
        column = len(self._line[: getattr(node, "col_offset", 0)].decode(errors="replace")) + self._left + 1
        raise ConfigError(what, where=f"column {column}", hint=hint)

    def _text(self, node: ast.AST) -> str:
        found = self._line[getattr(node, "col_offset", 0) : getattr(node, "end_col_offset", None)].decode(errors="replace")
        return found if len(found) <= 40 else f"{found[:40]}..."

    def condition(self, node: ast.expr, depth: int) -> Condition:
        if depth > DEEPEST:
            self._refuse(node, "it is nested too deeply", f"at most {DEEPEST} expressions may stand inside one another")
        match node:
            case ast.BoolOp(op=operator, values=values):
                join: Callable[[Condition, Condition], Condition] = Both if isinstance(operator, ast.And) else Either
                return self._balanced(join, [self.condition(value, depth + 1) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Not(self.condition(operand, depth + 1))
            case ast.Compare(left=left, ops=operators, comparators=rest):
                sides = [left, *rest]
                return self._balanced(Both, [self._comparison(a, op, b, depth) for a, op, b in zip(sides, operators, rest)])
            case ast.Call(func=ast.Name(id="has")):
                return self._has(node)
            case ast.Call(func=ast.Name(id="matches")):
                return self._matches(node)
            case ast.Call(func=ast.Name(id="n")) | ast.Name() if self._is_value(node):
                self._refuse(node, f"`{self._text(node)}` is not true or false by itself", f"compare it, as in `{self._compared(node)}`")
            case ast.Subscript():
                key = self._info(node).key
                self._refuse(node, f"`{self._text(node)}` is not true or false by itself", f'compare it, as in `info["{key}"] == "..."`')
            case ast.Call() | ast.Name() | ast.Attribute(value=ast.Name(id="info")):
                self._unknown(node)
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr() as wrong):
                self._refuse(node, f"`{self._text(node)}` is not understood", INSTEAD[type(wrong)])
        self._refuse(node, f"`{self._text(node)}` is not true or false", EXAMPLE)

    def _balanced(self, join: Callable[[Condition, Condition], Condition], parts: list[Condition]) -> Condition:
        """As a tree of little depth."""
        if len(parts) == 1:
            return parts[0]
        middle = (len(parts) + 1) // 2
        return join(self._balanced(join, parts[:middle]), self._balanced(join, parts[middle:]))

    def _is_value(self, node: ast.expr) -> bool:
        return not isinstance(node, ast.Name) or node.id in NAMES

    def _compared(self, node: ast.expr) -> str:
        name = self._text(node)
        return (
            f"{name} <= {{Si, O}}"
            if name == "elements"
            else "split == train"
            if name == "split"
            else f'{name} == "..."'
            if name in TEXTS or isinstance(node, ast.Subscript)
            else f"{name} <= 8"
        )

    def _info(self, node: ast.Subscript) -> Info:
        match node:
            case ast.Subscript(value=ast.Name(id="info"), slice=ast.Constant(value=str() as key)):
                return Info(key)
        self._refuse(node, f"`{self._text(node)}` is not understood", f"a key that the card keeps is written {INFO}")

    def _text_column(self, node: ast.expr) -> str | Info | None:
        """What is compared with text alone, or may be."""
        if isinstance(node, ast.Subscript):
            return self._info(node)
        return node.id if isinstance(node, ast.Name) and node.id in ("split", *TEXTS) else None

    def _unknown(self, node: ast.Call | ast.Name | ast.Attribute) -> NoReturn:
        if isinstance(node, ast.Attribute):
            self._refuse(node, f"`{self._text(node)}` is not understood", f'a key that the card keeps is written info["{node.attr}"]')
        if isinstance(node, ast.Call):
            self._refuse(node, f"there is no {self._text(node.func)}(...)", f"there are {', '.join(CALLS.values())}")
        if node.id in NUMBERS:
            self._refuse(node, f"{node.id} is an element", f"write `has({node.id})`, `n({node.id}) >= 2` or `elements <= {{{node.id}}}`")
        if node.id in SPLITS:
            self._refuse(node, f"{node.id} is a split", f"write `split == {node.id}`")
        if node.id in CALLS or node.id == "info":
            self._refuse(node, f"`{node.id}` needs brackets", f"write {CALLS.get(node.id, INFO)}")
        self._refuse(node, f"unknown name {node.id!r}", did_you_mean(node.id, NAMES))

    def _comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr, depth: int) -> Condition:
        if type(operator) in INSTEAD:
            self._refuse(left, f"`{self._text(left)} is ...` is not understood", INSTEAD[type(operator)])
        words = [node.id for node in (left, right) if isinstance(node, ast.Name)]
        if isinstance(operator, (ast.In, ast.NotIn)):
            found = self._inside(left, right)
            return Not(found) if isinstance(operator, ast.NotIn) else found
        if "elements" in words or isinstance(left, ast.Set) or isinstance(right, ast.Set):
            return self._elements(left, operator, right)
        if {"split", *TEXTS} & set(words) or self._is_of_text(left, right) or self._is_of_text(right, left):
            return self._words(left, operator, right)
        a, b = self._number(left, depth + 1), self._number(right, depth + 1)
        match operator:
            case ast.Lt():
                return Compare("<", a, b)
            case ast.LtE():
                return Compare("<=", a, b)
            case ast.Gt():
                return Compare("<", b, a)
            case ast.GtE():
                return Compare("<=", b, a)
            case ast.Eq():
                return Compare("==", a, b)
        return Not(Compare("==", a, b))

    def _is_of_text(self, key: ast.expr, other: ast.expr) -> bool:
        """Whether a key of the source is compared with a text, or with a word that lacks its quotes."""
        if isinstance(other, ast.Name):
            return isinstance(key, ast.Subscript) and other.id not in QUANTITIES
        return isinstance(key, ast.Subscript) and isinstance(other, ast.Constant) and isinstance(other.value, str)

    def _number(self, node: ast.expr, depth: int) -> Numeric:
        if depth > DEEPEST:
            self._refuse(node, "it is nested too deeply", f"at most {DEEPEST} expressions may stand inside one another")
        match node:
            case ast.Constant(value=bool() | str() | bytes()):
                self._refuse(
                    node,
                    f"{self._text(node)} is no number",
                    f"only group, origin, file and keys as {INFO} are compared with text, split with train, validation, test",
                )
            case ast.Constant(value=int() | float() as value):
                if abs(value) > 1e300 or not math.isfinite(value):
                    self._refuse(node, "the number is too large", "there is no such quantity of a frame")
                return Number(float(value))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._number(operand, depth + 1)
                return Number(-inner.value) if isinstance(inner, Number) else Arithmetic("-", Number(0.0), inner)
            case ast.BinOp(left=left, op=operator, right=right):
                if type(operator) not in ARITHMETIC:
                    self._refuse(node, f"`{self._text(node)}` is not understood", INSTEAD.get(type(operator), "there are + - * /"))
                return Arithmetic(ARITHMETIC[type(operator)], self._number(left, depth + 1), self._number(right, depth + 1))
            case ast.Name(id=name) if name in QUANTITIES:
                return Quantity(name)
            case ast.Name(id=name) if name in ("elements", "split", *TEXTS):
                self._refuse(node, f"`{name}` is no number", f"compare it alone, as in `{self._compared(node)}`")
            case ast.Call(func=ast.Name(id="n"), args=[ast.Name() as element], keywords=[]):
                return CountOf(self._element(element))
            case ast.Call(func=ast.Name(id="n")):
                self._refuse(node, f"`{self._text(node)}` is not understood", "write one element, as in n(O)")
            case ast.Call(func=ast.Name(id="has" | "matches" as name)):
                self._refuse(node, f"`{name}(...)` is true or false, and no number", "join it by `and` or `or`")
            case ast.Subscript():
                return self._info(node)
            case ast.Name() | ast.Call() | ast.Attribute(value=ast.Name(id="info")):
                self._unknown(node)
        self._refuse(node, f"`{self._text(node)}` is no number", EXAMPLE)

    def _element(self, node: ast.expr) -> int:
        name = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
        if not isinstance(name, str) or name not in SYMBOLS[1:]:
            self._refuse(node, f"{self._text(node)} is no element", did_you_mean(str(name), list(SYMBOLS[1:])))
        return NUMBERS[name]

    def _elements(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Condition:
        """`elements` against a set, either way round."""
        turned = isinstance(left, ast.Set)
        named, given = (right, left) if turned else (left, right)
        if not (isinstance(named, ast.Name) and named.id == "elements" and isinstance(given, ast.Set)):
            self._refuse(left, "elements are compared with a set", "write it in braces, as in `elements <= {Si, O}`, or `has(Li)`")
        wanted = frozenset(self._element(each) for each in given.elts)
        kind: type[ast.cmpop] = type(operator)
        if turned:
            kind = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}.get(kind, kind)
        only, every = OnlyOf(wanted), AllOf(wanted)
        found: dict[type[ast.cmpop], Condition] = {
            ast.LtE: only,
            ast.GtE: every,
            ast.Eq: Both(only, every),
            ast.NotEq: Not(Both(only, every)),
            ast.Lt: Both(only, Not(every)),
            ast.Gt: Both(every, Not(only)),
        }
        return found[kind]

    def _inside(self, left: ast.expr, right: ast.expr) -> Condition:
        """`Li in elements`, `split in {train, test}`, `group in {"a", "b"}`."""
        if isinstance(right, ast.Name) and right.id == "elements":
            return AllOf(frozenset([self._element(left)]))
        column = self._text_column(left)
        if column is None:
            hint = 'write `Li in elements`, `split in {train, test}` or `group in {"a", "b"}`'
            self._refuse(
                left,
                f"`{self._text(left)} in ...` is not understood",
                "write `elements <= {Si, O}`" if self._text(left) == "elements" else hint,
            )
        if not isinstance(right, (ast.Set, ast.Tuple, ast.List)):
            self._refuse(right, f"`{self._text(right)}` is no set", "write it in braces, as in `split in {train, test}`")
        return self._one_of(column, list(right.elts))

    def _words(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Condition:
        """`split`, or a text, against one word."""
        if self._text_column(right) is not None:
            left, right = right, left
        column = self._text_column(left)
        assert column is not None
        if not isinstance(operator, (ast.Eq, ast.NotEq)):
            self._refuse(left, f"`{self._text(left)}` has no order", f"write `{self._compared(left)}`")
        found = self._one_of(column, [right])
        return Not(found) if isinstance(operator, ast.NotEq) else found

    def _one_of(self, column: str | Info, given: list[ast.expr]) -> Condition:
        if column != "split":
            return TextIn(column, frozenset(self._quoted(each) for each in given))
        words = [each.id if isinstance(each, ast.Name) else each.value if isinstance(each, ast.Constant) else None for each in given]
        for word, each in zip(words, given):
            if word not in SPLITS:
                self._refuse(each, f"{self._text(each)} is no split", did_you_mean(str(word), list(SPLITS)))
        return InSplit(frozenset(SPLITS.index(str(word)) for word in words))

    def _quoted(self, node: ast.expr) -> str:
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            self._refuse(node, f"`{self._text(node)}` is no text", 'write it in quotes, as in group == "md-300K"')
        return node.value

    def _has(self, node: ast.Call) -> Condition:
        if not node.args or node.keywords:
            self._refuse(node, f"`{self._text(node)}` is not understood", f"write {CALLS['has']}")
        if len(node.args) == 1 and isinstance(node.args[0], ast.Name) and node.args[0].id in LABELS:
            return HasLabel(node.args[0].id)
        if wrong := next((each for each in node.args if not (isinstance(each, ast.Name) and each.id in SYMBOLS[1:])), None):
            self._refuse(wrong, f"{self._text(wrong)} is no element and no label", did_you_mean(self._text(wrong), [*SYMBOLS[1:], *LABELS]))
        return AllOf(frozenset(self._element(each) for each in node.args))

    def _matches(self, node: ast.Call) -> Condition:
        column = self._text_column(node.args[0]) if len(node.args) == 2 and not node.keywords else None
        if column is None or column == "split":
            self._refuse(node, f"`{self._text(node)}` is not understood", f"write {CALLS['matches']}, of {', '.join(TEXTS)} or {INFO}")
        return TextLike(column, self._quoted(node.args[1]))
