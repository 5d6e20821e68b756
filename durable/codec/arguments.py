"""Arguments of a call to one canonical JSON object by parameter name, and back.

    def create(name, /, size: int = 1, *tags: str, **labels: str)

    create("main", 3, "a", "b", env="prod")   {"name":"main","size":3,"*":["a","b"],"**":{"env":"prod"}}

The object is in the order of the signature, however the call was written, so that equal calls give equal
texts. Omitted optional arguments are absent and take the default of the code that runs, as in Python.
Callers who do not have the code may send a JSON array of positional arguments instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from inspect import Parameter
from typing import Any, Final, NamedTuple, Unpack, get_args, get_origin

from pydantic_core import ValidationError, from_json, to_json

from durable.codec.hints import Hints, signature_of
from durable.codec.problem import Subject, decode_error
from durable.codec.value import ValueCodec, value_codec
from durable.errors import DecodeError, DefinitionError, EncodeError

REST: Final = "*"
"""Key of the list of further positional arguments (``*args``)."""

KEYWORDS: Final = "**"
"""Key of the object of further keyword arguments (``**kwargs``)."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_KEY: Final = value_codec(str)
_VARIADIC: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class _Writer(NamedTuple):
    """How one argument is written: ``prefix`` is what stands before its value if all before it are given."""

    prefix: str
    encode: Callable[[Any], str]
    parameter: Parameter


class _Plan(NamedTuple):
    """How a call is written; one of ``least`` to ``most`` positional arguments takes the short way."""

    writers: list[_Writer]
    least: int
    most: int


class ArgumentsCodec:
    """Binds the arguments of a callable by its signature, writes them as one JSON object and reads them back.

    Nothing is resolved or compiled before the first use; ``prepare`` does it at once.

    Args:
        fn: the callable.
        skip: so many leading parameters are not arguments (``ctx``, ``self``).
        owner: name of the callable in messages; its qualified name if empty.

    Attributes:
        owner: name of the callable in messages.
    """

    def __init__(self, fn: Callable[..., Any], *, skip: int = 0, owner: str = "") -> None:
        self.owner = owner or getattr(fn, "__qualname__", None) or type(fn).__qualname__
        signature = signature_of(fn)
        self._parameters = list(signature.parameters.values())[skip:]
        self._signature = signature.replace(parameters=self._parameters)
        self._hints = Hints(fn)

    def __repr__(self) -> str:
        return f"<arguments of {self.owner}>"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(parameter.name for parameter in self._parameters)

    def prepare(self) -> None:
        """Resolve and compile now.

        Raises:
            DefinitionError: if an annotation is unknown, or its values cannot be carried as JSON.
        """
        self._prepare_each()
        self._reader.prepare()

    def _prepare_each(self) -> None:
        for name, codec in self._codecs.items():
            try:
                codec.prepare()
            except DefinitionError as error:
                message = f"parameter {name!r} of {self.owner!r}: {error.message}"
                raise DefinitionError(message) from error

    @cached_property
    def has_secrets(self) -> bool:
        """Whether a parameter holds a ``Secret``, so that the arguments must be stored encrypted."""
        return any(codec.has_secrets for codec in self._codecs.values())

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the object form."""
        return {**self._reader.json_schema(), "title": self.owner}

    # -- writing ---------------------------------------------------------------------------------------------

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Write the arguments of a call as one canonical JSON object.

        Raises:
            TypeError: if the callable cannot be called with them; the message names it.
            EncodeError: if one would not come back equal and of its class; ``path`` begins with its name.
        """
        plan = self._plan
        try:
            if not kwargs and plan.least <= len(args) <= plan.most:
                text = ""
                for (prefix, write, _), value in zip(plan.writers, args):  # noqa: B905 - trailing ones may be left out
                    text += prefix + write(value)
                return text + "}" if text else "{}"
            pieces = self._write_by_name(args, kwargs) or self._write_bound(args, kwargs)
            return "{" + ",".join(pieces) + "}"
        except EncodeError:
            self._blame(args, kwargs)
            raise

    def _write_by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str] | None:
        """The pieces, if a signature without ``*`` and ``**`` accepts the call; else None."""
        plan = self._plan
        if plan.most < len(args):
            return None
        pieces = []
        used = len(args)
        for index, (_, encode, parameter) in enumerate(plan.writers):
            if index < len(args):
                pieces.append(f'"{parameter.name}":{encode(args[index])}')
            elif parameter.name in kwargs and parameter.kind is not Parameter.POSITIONAL_ONLY:
                pieces.append(f'"{parameter.name}":{encode(kwargs[parameter.name])}')
                used += 1
            elif parameter.default is Parameter.empty:
                return None
        return pieces if used == len(args) + len(kwargs) else None

    def _write_bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        pieces = []
        for name, value in self._bind(args, kwargs).items():
            codec, kind = self._codecs[name], self._signature.parameters[name].kind
            if kind not in _VARIADIC:
                pieces.append(f'"{name}":{codec.encode(value)}')
            elif self._is_unpacked(name):
                pieces.append(f'"{_key(kind)}":{codec.encode(value)}')
            elif kind is Parameter.VAR_POSITIONAL:
                pieces.append(f'"{REST}":[{",".join(map(codec.encode, value))}]')
            else:
                entries = [f"{_KEY.encode(key)}:{codec.encode(inner)}" for key, inner in value.items()]
                pieces.append(f'"{KEYWORDS}":{{{",".join(entries)}}}')
        return pieces

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        keywords = self._keywords_name
        namesakes = {}
        if keywords:  # before Python 3.13 inspect does not know that they may be called like a positional one
            only = {one.name for one in self._positional if one.kind is Parameter.POSITIONAL_ONLY}
            namesakes = {name: kwargs[name] for name in kwargs.keys() & only}
        try:
            others = {name: value for name, value in kwargs.items() if name not in namesakes}
            bound = self._signature.bind(*args, **others).arguments
        except TypeError as error:
            message = f"{self.owner}() {error}"
            raise TypeError(message) from None
        if namesakes:
            given = bound.get(keywords, {}).keys() | namesakes.keys()
            bound[keywords] = {name: value for name, value in kwargs.items() if name in given}
        return bound

    def _blame(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise the error of the first argument that cannot be written, with its name in the path."""
        for name, value in self._bind(args, kwargs).items():
            codec, kind = self._codecs[name], self._signature.parameters[name].kind
            if kind not in _VARIADIC or self._is_unpacked(name):
                codec.encode_at((name,), value)
            elif kind is Parameter.VAR_POSITIONAL:
                for index, item in enumerate(value):
                    codec.encode_at((name, index), item)
            else:
                for key, item in value.items():
                    codec.encode_at((key,), item)

    # -- reading ---------------------------------------------------------------------------------------------

    def decode(self, text: str | bytes) -> Arguments:
        """Read arguments from the object form, or positional ones from a JSON array.

        Raises:
            DecodeError: if they do not fit the parameters; ``path`` begins with the name of one.
        """
        try:
            fields: dict[str, Any] = self._reader.machine.validate_json(text)
        except ValidationError as error:
            array = _as_array(text)
            if array is not None:
                return self.decode(self._as_object(array))
            subject = self._subject
            raise decode_error(error, text, subject) from (None if subject.hide else error)
        if len(fields) == self._plan.most == len(self._parameters):
            return tuple(fields.values()), {}
        return self._call(fields)

    def _call(self, fields: dict[str, Any]) -> Arguments:
        """Spread the fields over the kinds of parameters; defaults fill gaps that have no other way."""
        rest = fields.pop(REST, ())
        keywords = fields.pop(KEYWORDS, None)
        args: list[Any] = []
        skipped: list[Any] = []
        for parameter in self._positional:
            name = parameter.name
            if name not in fields:
                skipped.append(parameter.default)
            elif not skipped or rest or parameter.kind is Parameter.POSITIONAL_ONLY:
                args += [*skipped, fields.pop(name)]
                skipped.clear()
        if rest:
            args += [*skipped, *rest]
        if keywords:
            for name in keywords.keys() & self._by_keyword:
                message = f"expected {name} to be given once, got it among the further keywords as well"
                raise DecodeError(message, path=name)
            fields.update(keywords)
        return tuple(args), fields

    def _as_object(self, array: list[Any]) -> str:
        """The object form of positional arguments in plain JSON."""
        try:
            bound = self._signature.bind_partial(*array).arguments
        except TypeError as error:
            message = f"expected the arguments of {self.owner}(), got {len(array)}: {error}"
            raise DecodeError(message) from None
        parameters = self._signature.parameters
        fields = {_key(parameters[name].kind) or name: value for name, value in bound.items()}
        return to_json(fields, inf_nan_mode="constants").decode()

    # -- what a signature is compiled to, on first use -------------------------------------------------------

    @cached_property
    def _annotations(self) -> dict[str, Any]:
        return {name: self._hints.resolve(name, self.owner) for name in self.parameters}

    @cached_property
    def _codecs(self) -> dict[str, ValueCodec]:
        """The codec of each parameter; of each item, or of all if unpacked, for a variadic one."""
        return {
            name: value_codec(get_args(hint)[0] if get_origin(hint) is Unpack else hint)
            for name, hint in self._annotations.items()
        }

    def _is_unpacked(self, name: str) -> bool:
        """Whether the annotation is of all items at once: ``**options: Unpack[Options]``."""
        return get_origin(self._annotations[name]) is Unpack

    @cached_property
    def _plan(self) -> _Plan:
        plain = [one for one in self._parameters if one.kind not in _VARIADIC]
        writers = [
            _Writer(f'{"," if index else "{"}"{one.name}":', self._codecs[one.name].encode, one)
            for index, one in enumerate(plain)
        ]
        if len(plain) < len(self._parameters):
            return _Plan(writers, 0, -1)
        required = [index for index, one in enumerate(plain, 1) if one.default is Parameter.empty]
        return _Plan(writers, max(required, default=0), len(self._positional))

    @cached_property
    def _subject(self) -> Subject:
        names = {_key(one.kind) or one.name: _key(one.kind) + one.name for one in self._parameters}
        return Subject(name=f"the arguments of {self.owner}()", names=names, hide=self.has_secrets)

    @cached_property
    def _positional(self) -> list[Parameter]:
        return [one for one in self._parameters if one.kind in _POSITIONAL]

    @cached_property
    def _keywords_name(self) -> str:
        """The name of ``**kwargs``; empty if there is none."""
        return next((one.name for one in self._parameters if one.kind is Parameter.VAR_KEYWORD), "")

    @cached_property
    def _by_keyword(self) -> set[str]:
        kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        return {one.name for one in self._parameters if one.kind in kinds}

    @cached_property
    def _reader(self) -> ValueCodec:
        """The codec of the object form as a whole: one pass of the parser reads all arguments."""
        from typing import NotRequired, Required  # pydantic wants this one before Python 3.12

        from typing_extensions import (
            TypedDict,
        )

        fields: dict[str, Any] = {}
        for one in self._parameters:
            hint = self._annotations[one.name]
            if one.kind in _VARIADIC:
                many = list[hint] if one.kind is Parameter.VAR_POSITIONAL else dict[str, hint]  # type: ignore[valid-type]
                whole = get_args(hint)[0] if get_origin(hint) is Unpack else many
                fields[_key(one.kind)] = NotRequired[whole]
            else:
                fields[one.name] = Required[hint] if one.default is Parameter.empty else NotRequired[hint]
        form = TypedDict("Arguments", fields)  # type: ignore[misc]
        form.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
        reader = ValueCodec(form)
        try:
            reader.prepare()
        except DefinitionError:
            self._prepare_each()  # names the parameter that is to blame
            raise
        return reader


def _key(kind: Any) -> str:
    """The key of a variadic parameter; empty for others, which go by their name."""
    return {Parameter.VAR_POSITIONAL: REST, Parameter.VAR_KEYWORD: KEYWORDS}.get(kind, "")


def _as_array(text: str | bytes) -> list[Any] | None:
    try:
        raw = from_json(text)
    except ValueError:
        return None
    return raw if isinstance(raw, list) else None


class _ResultCodec(ValueCodec):
    """The codec of a result whose annotation is resolved on first use."""

    def __init__(self, hints: Hints, owner: str) -> None:
        self._hints = hints
        self._owner = owner

    @cached_property
    def annotation(self) -> Any:
        return self._hints.resolve("return", self._owner)


def result_codec(fn: Callable[..., Any]) -> ValueCodec:
    """The codec of what a callable returns, or what awaiting it gives; ``Any`` if that is not annotated.

    An annotation with names that are defined further down in the module is resolved on first use.
    """
    owner = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    hints = Hints(fn)
    try:
        return value_codec(hints.resolve("return", owner))
    except DefinitionError:
        return _ResultCodec(hints, owner)
