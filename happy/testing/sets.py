"""Going through a set: the order of text in it changes with the seed of hashes.

So two runs of one handler can come to different states, and a test that runs once in one
process sees nothing of it. This reads the source of handlers, queries and mail routes, and
finds what is seen to be a set where its order counts: ``for name in {...}``, ``list(set(...))``,
``", ".join(names)`` after ``names = set(...)``. ``sorted`` makes an order.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Final

from happy.app import App, functions_of
from happy.purity import complaint

_REASON: Final = "comes in another order in another process; go through sorted(...)"
_MAKERS: Final = frozenset({"set", "frozenset"})
_METHODS: Final = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_IN_ORDER: Final = frozenset(
    {"list", "tuple", "iter", "enumerate", "reversed", "zip", "map", "dict"}
)


def check_sets(app: type[App]) -> None:
    """Raise ``Nondeterministic`` when a handler, query or mail route goes through a set."""
    for function in functions_of(app):
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):
            continue  # there is no source, or only a piece of a line
        for node in _ordered_sets(tree):
            raise complaint(
                inspect.getfile(function),
                first + node.lineno - 1,
                function.__qualname__,
                f"the set {ast.unparse(node)}",
                _REASON,
            )


def _ordered_sets(tree: ast.AST) -> Iterator[ast.expr]:
    names = _names_of_sets(tree)
    for node in ast.walk(tree):
        for used in _used_in_order(node):
            if _is_set(used, names):
                yield used


def _used_in_order(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions whose order counts in a node."""
    match node:
        case ast.For():
            yield node.iter
        case ast.ListComp() | ast.DictComp():
            yield from (inner.iter for inner in node.generators)
        case ast.Starred():
            yield node.value
        case ast.Call(func=ast.Name(id=name)) if name in _IN_ORDER:
            yield from _gone_through(node.args)
        case ast.Call(func=ast.Attribute(attr="join" | "extend")):
            yield from _gone_through(node.args)
        case ast.Call(func=ast.Attribute(attr="pop", value=value), args=[]):
            yield value


def _gone_through(arguments: list[ast.expr]) -> Iterator[ast.expr]:
    for argument in arguments:
        if isinstance(argument, ast.GeneratorExp):
            yield from (inner.iter for inner in argument.generators)
        else:
            yield argument


def _is_set(node: ast.expr, names: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Name(id=name):
            return name in names
        case ast.Call(func=ast.Name(id=name)):
            return name in _MAKERS
        case ast.Call(func=ast.Attribute(attr=name, value=value)):
            return name in _METHODS and _is_set(value, names)
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
            return _is_set(left, names) or _is_set(node.right, names)
    return False


def _names_of_sets(tree: ast.AST) -> set[str]:
    """Return the names that are given nothing but sets."""
    given: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        given.setdefault(target.id, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                given.setdefault(name, []).append(value)
            case ast.For(target=ast.Name(id=name)) | ast.arg(arg=name):
                given.setdefault(name, []).append(None)
    found: set[str] = set()
    for name, values in given.items():
        if all(value is not None and _is_set(value, found) for value in values):
            found.add(name)
    return found
