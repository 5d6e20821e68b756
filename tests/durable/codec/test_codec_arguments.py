"""Arguments go by name in the order of the signature and come back as they were given (semantics 1)."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Never, Unpack

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from durable.codec import ArgumentsCodec, Secret, result_codec
from durable.errors import DecodeError, DefinitionError, EncodeError

if TYPE_CHECKING:
    from decimal import Decimal as Unimported


def create(name: str, /, size: int = 1, *tags: str, **labels: str) -> Any: ...


def order(item: str, count: int, *, gift: bool = False, note: str | None = None) -> Later: ...


def optional(a: int = 1, b: int = 2, /, c: int = 3) -> None: ...


def plain(a, b): ...


def nothing() -> None: ...


def typed_keywords(**options: Unpack[Options]) -> None: ...


class Later(BaseModel):
    x: int


class Options(TypedDict, total=False):
    depth: int
    names: set[str]


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "text"),
    [
        (nothing, (), {}, "{}"),
        (plain, ("a", {"x": [1]}), {}, '{"a":"a","b":{"x":[1]}}'),
        (plain, (), {"b": 2, "a": 1}, '{"a":1,"b":2}'),
        (order, ("book", 2), {}, '{"item":"book","count":2}'),
        (order, ("book",), {"note": None, "count": 2}, '{"item":"book","count":2,"note":null}'),
        (order, (), {"gift": True, "count": 2, "item": "book"}, '{"item":"book","count":2,"gift":true}'),
        (create, ("main",), {}, '{"name":"main"}'),
        (create, ("main",), {"size": 3}, '{"name":"main","size":3}'),
        (create, ("main", 3, "a", "b"), {"env": "prod"}, '{"name":"main","size":3,"*":["a","b"],"**":{"env":"prod"}}'),
        (create, ("main",), {"name": "namesake"}, '{"name":"main","**":{"name":"namesake"}}'),
        (optional, (), {"c": 5}, '{"c":5}'),
    ],
)  # fmt: skip
def test_call_is_written_by_name_and_comes_back(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    codec = ArgumentsCodec(fn)
    assert codec.encode(args, kwargs) == text
    received_args, received_kwargs = codec.decode(text)
    bound = inspect.signature(plain_names(fn)).bind(*received_args, **received_kwargs).arguments
    assert bound == inspect.signature(plain_names(fn)).bind(*args, **kwargs).arguments
    assert codec.encode(received_args, received_kwargs) == text


def plain_names(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of these parameters, none of them positional only: inspect knows no namesakes before 3.13."""
    if fn is not create:
        return fn
    return lambda _name, size=1, *tags, **labels: None


def test_omitted_optional_takes_the_default_of_the_code_that_runs() -> None:
    assert ArgumentsCodec(order).decode('{"item":"book","count":2}') == (("book", 2), {})


def test_gap_is_filled_by_the_default_where_there_is_no_other_way() -> None:
    codec = ArgumentsCodec(optional)
    assert codec.decode('{"b":5}') == ((1, 5), {})
    assert codec.decode('{"c":5}') == ((), {"c": 5})
    assert ArgumentsCodec(create).decode('{"name":"m","*":["t"]}') == (("m", 1, "t"), {})


def test_array_of_positional_arguments_is_read() -> None:
    assert ArgumentsCodec(order).decode('["book", 2]') == (("book", 2), {})
    assert ArgumentsCodec(create).decode('["m", 2, "a", "b"]') == (("m", 2, "a", "b"), {})
    assert ArgumentsCodec(nothing).decode("[]") == ((), {})


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "words"),
    [
        (order, (), {}, "order() missing a required argument: 'item'"),
        (order, ("book",), {"gift": True}, "order() missing a required argument: 'count'"),
        (order, (1, 2, 3), {}, "order() too many positional arguments"),
        (order, ("book", 2), {"item": "x"}, "order() multiple values for argument 'item'"),
        (order, ("book", 2), {"color": "red"}, "order() got an unexpected keyword argument 'color'"),
        (nothing, (1,), {}, "nothing() too many positional arguments"),
        (optional, (), {"a": 1}, "optional() "),
    ],
)
def test_wrong_call_is_refused_with_the_name_of_the_function(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        ArgumentsCodec(fn).encode(args, kwargs)


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "path"),
    [
        (order, (1, 2), {}, "item"),
        (order, ("book", "2"), {}, "count"),
        (order, ("book",), {"count": "2"}, "count"),
        (create, ("m", 1, "a", 2), {}, "tags[1]"),
        (create, ("m",), {"env": 3}, "env"),
        (create, ("m", 1, "a"), {"env": 3}, "env"),
        (plain, (1, {"k": [set()]}), {}, "b.k[0]"),
        (create, ("m",), {"\ud800": "x"}, ""),
        (typed_keywords, (), {"depth": "x"}, "options.depth"),
    ],
)
def test_argument_that_cannot_be_written_is_refused_with_its_path(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], path: str
) -> None:
    with pytest.raises(EncodeError, match="expected ") as caught:
        ArgumentsCodec(fn).encode(args, kwargs)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("fn", "text", "path", "words"),
    [
        (order, "{}", "item", "expected item to be given; expected count to be given"),
        (order, '{"item":"a","count":"x"}', "count", "expected count to be a valid integer"),
        (order, '{"item":"a","count":1,"gft":true}', "gft", "expected one of item, count, gift, note, got 'gft'"),
        (order, '{"item":"a","count":1,"gft":true}', "gft", "did you mean 'gift'?"),
        (order, '["a"]', "count", "expected count to be given"),
        (order, '["a", 1, 2]', "", "expected the arguments of order(), got 3: too many positional arguments"),
        (order, "3", "", "expected the arguments of order() to be an object, got 3"),
        (order, "{", "", "expected the arguments of order() to be JSON"),
        (create, '{"name":"m","*":["a",3]}', "tags[1]", "expected tags[1] to be a valid string, got 3"),
        (create, '{"name":"m","*":3}', "tags", "expected tags to be a valid array, got 3"),
        (create, '{"name":"m","**":{"env":3}}', "env", "expected env to be a valid string, got 3"),
        (create, '{"name":"m","**":{"size":"3"}}', "size", "expected size to be given once"),
        (create, '{"name":"m","env":"x"}', "env", "expected one of name, size, *tags, **labels, got 'env'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_path(
    fn: Callable[..., Any], text: str, path: str, words: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        ArgumentsCodec(fn).decode(text)
    assert caught.value.path == path
    assert words in caught.value.message


def test_leading_parameters_are_skipped_and_the_owner_is_named() -> None:
    def deploy(ctx: object, version: str) -> None: ...

    codec = ArgumentsCodec(deploy, skip=1, owner="deploy")
    assert codec.parameters == ("version",)
    assert codec.encode(("v1",), {}) == '{"version":"v1"}'
    with pytest.raises(TypeError, match=r"^deploy\(\) "):
        codec.encode((), {})
    assert repr(codec) == "<arguments of deploy>"


def test_annotation_defined_further_down_is_known_at_the_first_use() -> None:
    assert result_codec(order).decode('{"x":1}') == Later(x=1)


def test_names_of_the_enclosing_function_are_known() -> None:
    class Local(BaseModel):
        y: int

    def step(value: Local) -> list[Local]: ...

    codec = ArgumentsCodec(step)
    assert codec.decode(codec.encode((Local(y=1),), {})) == ((Local(y=1),), {})
    assert result_codec(step).decode('[{"y":1}]') == [Local(y=1)]


def test_names_that_the_function_closes_over_are_known_after_its_definition() -> None:
    def outer() -> Callable[..., Any]:
        class Local(BaseModel):
            y: int

        def step(value: Local) -> Any:
            return Local

        return step

    step = outer()
    assert ArgumentsCodec(step).encode((step(None)(y=1),), {}) == '{"value":{"y":1}}'


def test_variable_that_is_not_yet_bound_does_not_stop_others() -> None:
    def step(value: int) -> Any:
        return unbound

    assert ArgumentsCodec(step).encode((1,), {}) == '{"value":1}'
    unbound = None


def test_unknown_annotation_is_refused_with_the_name_of_the_parameter() -> None:
    def step(good: int, value: Unimported) -> Unimported: ...

    codec = ArgumentsCodec(step, owner="step")
    with pytest.raises(DefinitionError, match="annotation of parameter 'value' of 'step' to be known"):
        codec.prepare()
    with pytest.raises(DefinitionError, match=r"annotation of result of .*step' to be known"):
        result_codec(step).prepare()


def test_annotation_without_json_is_refused_with_the_name_of_the_parameter() -> None:
    def step(good: int, view: memoryview) -> None: ...

    with pytest.raises(DefinitionError, match="parameter 'view' of 'step': expected memoryview"):
        ArgumentsCodec(step, owner="step").prepare()


def test_prepare_accepts_what_can_be_carried() -> None:
    codec = ArgumentsCodec(order)
    codec.prepare()
    assert codec.encode(("a", 1), {}) == '{"item":"a","count":1}'


class Shop:
    def method(self, value: Later) -> str: ...

    @classmethod
    def for_class(cls, value: Later) -> str: ...

    @staticmethod
    def static(value: Later) -> str: ...

    def __call__(self, value: Later) -> str: ...


@functools.wraps(Shop.static)
def wrapper(*args: Any) -> Any: ...


@dataclasses.dataclass
class Item:
    value: Later


@pytest.mark.parametrize(
    ("fn", "result"),
    [
        (Shop().method, str),
        (Shop.for_class, str),
        (Shop.static, str),
        (Shop(), str),
        (wrapper, str),
        (functools.partial(Shop().method), str),
        (functools.partial(functools.partial(Shop().method)), str),
        (Item, Item),
    ],
)
def test_callable_of_any_kind_has_its_annotations(fn: Callable[..., Any], result: Any) -> None:
    codec = ArgumentsCodec(fn)
    assert codec.parameters == ("value",)
    assert codec.decode('{"value":{"x":1}}') == ((Later(x=1),), {})
    assert result_codec(fn).annotation is result


def test_builtin_takes_plain_json() -> None:
    assert ArgumentsCodec(len).encode(([1],), {}) == '{"obj":[1]}'
    assert ArgumentsCodec(type("C", (), {"__call__": max})()).owner == "C"
    codec = ArgumentsCodec(max)  # has no signature
    assert codec.decode(codec.encode((1, 2), {"default": 3})) == ((1, 2), {"default": 3})
    assert result_codec(max).annotation is Any


def test_keywords_may_be_typed_one_by_one() -> None:
    def step(**options: Unpack[Options]) -> None: ...

    codec = ArgumentsCodec(step)
    text = codec.encode((), {"depth": 1, "names": {"b", "a"}})
    assert text == '{"**":{"depth":1,"names":["a","b"]}}'
    assert codec.decode(text) == ((), {"depth": 1, "names": {"a", "b"}})
    with pytest.raises(EncodeError) as caught:
        codec.encode((), {"deep": 1})
    assert caught.value.path == "options.deep"


def test_result_that_never_comes_or_is_not_annotated_is_any() -> None:
    def fail() -> Never: ...

    assert result_codec(fail).annotation is Any
    assert result_codec(plain).annotation is Any


def test_secrets_are_found_and_never_shown() -> None:
    def charge(card: Secret[str], amount: int) -> None: ...

    codec = ArgumentsCodec(charge)
    assert codec.has_secrets
    assert not ArgumentsCodec(order).has_secrets
    with pytest.raises(DecodeError) as caught:
        codec.decode('{"card":4000,"amount":"x4000"}')
    assert "4000" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_json_schema_is_of_the_object_form() -> None:
    schema = ArgumentsCodec(order, owner="order").json_schema()
    assert schema["title"] == "order"
    assert list(schema["properties"]) == ["item", "count", "gift", "note"]
    assert schema["required"] == ["item", "count"]
    assert schema["additionalProperties"] is False
