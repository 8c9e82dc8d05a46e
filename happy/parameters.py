"""Reading what a request says into typed values: texts of a path, a query or a form.

A text is not guessed at: a whole number is digits, a truth is ``true`` or ``false`` (or ``1``
and ``0``), and a name that nobody asked for is a fault, not a word to be passed over.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from happy.errors import BadRequest, DefinitionError
from happy.event import event_meta
from happy.values import hints_of

Texts = Sequence[tuple[str, str | bytes]]
"""Names and what they say, in the order they came: texts, and of a form the bytes that came."""

_WHOLE = re.compile(r"-?[0-9]{1,20}")
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}
_AT = re.compile(r" - at `\$?\.?([^`]*)`$")


@attrs.frozen
class Parameter:
    """One value that is asked for: its type, and whether it may be left away."""

    hint: Any
    required: bool
    many: bool = False
    """Whether the name may come several times: the type is ``tuple[item, ...]``."""


class Parameters:
    """What a request is to say; made of an event class or of a query's arguments."""

    def __init__(self, wanted: Mapping[str, Parameter]) -> None:
        self._wanted = wanted

    @property
    def names(self) -> frozenset[str]:
        """The names that are asked for."""
        return frozenset(self._wanted)

    def takes_text(self, name: str) -> bool:
        """Say whether a value is a text, rather than bytes."""
        return _within(self._wanted[name].hint) is str

    def read(self, texts: Texts, *, partly: bool = False) -> dict[str, Any]:
        """Return the values that the texts spell; ``BadRequest`` lists every fault.

        With ``partly``, what is missing is said elsewhere.
        """
        faults: list[str] = []
        values: dict[str, Any] = {}
        for name, text in texts:
            parameter = self._wanted.get(name)
            if parameter is None:
                faults.append(f"{name} is not known here")
            elif parameter.many:
                self._take(faults, values.setdefault(name, []), name, parameter, text)
            elif name in values:
                faults.append(f"{name} is there twice")
            else:
                found: list[Any] = []
                self._take(faults, found, name, parameter, text)
                values[name] = found[0] if found else None
        faults += [
            f"{name} is missing"
            for name, parameter in self._wanted.items()
            if parameter.required and name not in values and not partly
        ]
        if faults:
            raise BadRequest("; ".join(faults), tuple(faults))
        return {
            name: tuple(value) if self._wanted[name].many else value
            for name, value in values.items()
        }

    def _take(
        self, faults: list[str], into: list[Any], name: str, parameter: Parameter, text: str | bytes
    ) -> None:
        try:
            into.append(_value_of(text, parameter.hint))
        except ValueError as fault:
            faults.append(f"{name} {fault}")


def _value_of(said: str | bytes, hint: Any) -> Any:
    """Return the value that was said; ``ValueError`` says what was expected."""
    hint = _within(hint)
    if isinstance(said, str):
        return _value_of_text(said, hint)
    if hint is bytes:
        return said
    try:
        return _value_of_text(said.decode("utf-8"), hint)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None


def _value_of_text(text: str, hint: Any) -> Any:
    """Return the value that a text spells."""
    if hint is str:
        return text
    if hint is int:
        if _WHOLE.fullmatch(text) is None:
            raise ValueError("is not a whole number")
        number = int(text)
        if not -(2**63) <= number < 2**64:
            raise ValueError("is not a whole number of at most 64 bits")
        return number
    if hint is bool:
        if text not in _TRUTHS:
            raise ValueError("is neither true nor false")
        return _TRUTHS[text]
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError:
        kind = "base64" if hint is bytes else f"a valid {getattr(hint, '__name__', hint)}"
        raise ValueError(f"is not {kind}") from None


def _within(hint: Any) -> Any:
    """Return X of ``X | None``: a text is never nothing."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(kinds) == 1:
            return kinds[0]
    return hint


def _parameter(hint: Any, *, required: bool) -> Parameter:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is ...:
        return Parameter(arguments[0], required, many=True)
    return Parameter(hint, required)


def of_event(event_type: type) -> Parameters:
    """Return the parameters that the fields of an event are."""
    event_meta(event_type)
    hints = hints_of(event_type)
    return Parameters(
        {
            field.name: _parameter(hints[field.name], required=field.default is attrs.NOTHING)
            for field in attrs.fields(event_type)
        }
    )


def of_query(query: Callable[..., Any]) -> Parameters:
    """Return the parameters that a query takes beside the state.

    Raises ``DefinitionError`` for an argument that has no type, or takes any number of values.
    """
    _state, *rest = inspect.signature(query, eval_str=True).parameters.values()
    wanted: dict[str, Parameter] = {}
    for argument in rest:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise DefinitionError(f"{query.__qualname__}: name the arguments, not *{argument.name}")
        if argument.kind is argument.POSITIONAL_ONLY:
            raise DefinitionError(f"{query.__qualname__}: {argument.name} is passed by its name")
        if argument.annotation is argument.empty:
            raise DefinitionError(
                f"{query.__qualname__}: say what type {argument.name} has, as in "
                f"{argument.name}: str"
            )
        required = argument.default is argument.empty
        wanted[argument.name] = _parameter(argument.annotation, required=required)
    return Parameters(wanted)


def make_event(event_type: type, values: Mapping[str, Any]) -> Any:
    """Return an event of values read; ``BadRequest`` when its class does not take one of them."""
    try:
        return msgspec.convert(values, event_type)
    except msgspec.ValidationError as fault:
        sentence = _sentence(str(fault))
        raise BadRequest(sentence, (sentence,)) from None


def _sentence(fault: str) -> str:
    """Return msgspec's complaint with the field in front."""
    where = _AT.search(fault)
    return fault if where is None else f"{where[1]}: {fault[: where.start()]}"
