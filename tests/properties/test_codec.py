"""Whatever the codec lets through comes back equal and of its class; whatever it writes is canonical (rule H2).

Annotations are generated together with values that fit them, nested at random. The comparison here is independent of
the codec's own: it walks both values and knows nothing of annotations.
"""

import dataclasses
import datetime as dt
import enum
import math
import uuid
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Generic, Literal, NamedTuple, Optional, TypeVar, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from durable.codec import (
    AesGcmCodec,
    ArgumentsCodec,
    Envelope,
    ValueCodec,
    ZlibCodec,
    rebuild_exception,
    record_exception,
    value_codec,
)
from durable.errors import EncodeError

T = TypeVar("T")


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Shape(enum.Enum):
    POINT = (0, 0)
    LINE = "line"


class Box(BaseModel, Generic[T]):
    model_config = ConfigDict(frozen=True, alias_generator=str.upper, populate_by_name=True)
    content: T
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Cell(Generic[T]):
    content: T
    row: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Slot(Generic[T]):
    content: T


class Pair(NamedTuple, Generic[T]):
    left: T
    right: T


class LoudText(str):
    __slots__ = ()


class OddInt(int):
    pass


class MyList(list):  # type: ignore[type-arg]
    pass


class Typed(NamedTuple):
    """An annotation with values that fit it."""

    annotation: Any
    values: st.SearchStrategy[Any]


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
ZONES = st.none() | st.just(dt.UTC) | OFFSETS
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)

HASHABLE_LEAVES = [
    Typed(int, st.integers()),
    Typed(str, st.text()),
    Typed(bool, st.booleans()),
    Typed(None, st.none()),
    Typed(bytes, st.binary()),
    Typed(Decimal, DECIMALS),
    Typed(Fraction, st.fractions()),
    Typed(uuid.UUID, st.uuids()),
    Typed(dt.date, st.dates()),
    Typed(dt.time, st.times(timezones=st.none() | st.just(dt.UTC))),
    Typed(dt.datetime, st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=ZONES)),
    Typed(dt.timedelta, st.timedeltas()),
    Typed(Color, st.sampled_from(Color)),
    Typed(Size, st.sampled_from(Size)),
    Typed(Shape, st.sampled_from(Shape)),
    Typed(Literal["red", 7], st.sampled_from(["red", 7])),
]  # fmt: skip
FLOAT = Typed(float, st.floats())
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ANY = Typed(Any, PLAIN)
KEYS = [one for one in HASHABLE_LEAVES if one.annotation in (int, str, bytes, uuid.UUID, dt.date, Color, Size)]

hashable = st.sampled_from(HASHABLE_LEAVES)
told = st.sampled_from([*HASHABLE_LEAVES, FLOAT])
leaf = told | st.just(ANY)


def make_box(one: Typed) -> Typed:
    cls: Any = Box[one.annotation]  # type: ignore[name-defined]
    return Typed(cls, st.tuples(one.values, st.text()).map(lambda two: cls(content=two[0], label=two[1])))


def grow(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Annotations one level deeper."""
    two = st.tuples(inner, inner)
    return st.one_of(
        inner.map(lambda one: Typed(list[one.annotation], st.lists(one.values, max_size=3))),
        inner.map(lambda one: Typed(tuple[one.annotation, ...], st.lists(one.values, max_size=3).map(tuple))),
        two.map(lambda ab: Typed(tuple[ab[0].annotation, ab[1].annotation], st.tuples(ab[0].values, ab[1].values))),
        hashable.map(lambda one: Typed(set[one.annotation], st.sets(one.values, max_size=4))),
        hashable.map(lambda one: Typed(frozenset[one.annotation], st.frozensets(one.values, max_size=4))),
        st.tuples(st.sampled_from(KEYS), inner).map(
            lambda ab: Typed(
                dict[ab[0].annotation, ab[1].annotation], st.dictionaries(ab[0].values, ab[1].values, max_size=3)
            )
        ),
        inner.map(lambda one: Typed(Optional[one.annotation], st.none() | one.values)),  # noqa: UP045
        inner.map(make_box),
        inner.map(lambda one: Typed(Cell[one.annotation], st.builds(Cell, content=one.values, row=st.integers()))),
        inner.map(lambda one: Typed(Slot[one.annotation], one.values.map(Slot))),
        inner.map(lambda one: Typed(Pair[one.annotation], st.builds(Pair, left=one.values, right=one.values))),
        two.map(lambda ab: Typed(Union[ab[0].annotation, ab[1].annotation], ab[0].values | ab[1].values)),  # noqa: UP007
    )  # fmt: skip


typed = st.recursive(leaf, grow, max_leaves=5)

ILL_TYPED = st.sampled_from(
    [True, 3, 2**70, 1.0, "text", Color.RED, Size.SMALL, LoudText("x"), OddInt(1), MyList([1]), (1, 2), Pair(1, 2),
     {1}, frozenset("a"), OrderedDict(a=1), b"x", object(), Cell(1), Slot("x"), Box[int](content=1), [True],
     [Color.RED], {"a": Size.SMALL}, {1: "a"}, dt.datetime(2024, 1, 1), Decimal(1), "\ud800", math.nan, [10**5000],
     print]
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same class all the way down; an int may have become a float."""
    if type(one) is int and type(other) is float:
        return one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, float | Decimal):
        return repr(one) == repr(other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        partners = {item: item for item in other}
        return one == other and all(same(item, partners[item]) for item in one)
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, BaseModel):
        return same(dict(one), dict(other))
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other)


def has_homonyms(annotation: Any) -> bool:
    """Whether there may be members of a union in it that are of one class, such as two lists: they have no tags."""
    return "Union" in str(annotation)


@settings(max_examples=400)
@given(st.data())
def test_value_that_fits_comes_back_the_same(data: st.DataObject) -> None:
    one = data.draw(typed)
    value = data.draw(one.values)
    codec = ValueCodec(one.annotation)
    try:
        text = codec.encode(value)
    except EncodeError:
        assert has_homonyms(one.annotation)
        return
    received = codec.decode(text)
    assert same(value, received)
    assert codec.encode(received) == text


@settings(max_examples=400)
@given(st.data())
def test_value_that_does_not_fit_is_refused_or_comes_back_the_same(data: st.DataObject) -> None:
    one, other = data.draw(typed), data.draw(typed)
    value = data.draw(other.values | ILL_TYPED)
    codec = ValueCodec(one.annotation)
    try:
        text = codec.encode(value)
    except EncodeError:
        return
    assert same(value, codec.decode(text))


@settings(max_examples=200)
@given(told, told, st.data())
def test_member_of_a_union_comes_back_the_same(one: Typed, other: Typed, data: st.DataObject) -> None:
    codec = value_codec(Union[one.annotation, other.annotation])  # noqa: UP007
    value = data.draw(one.values | other.values)
    assert same(value, codec.decode(codec.encode(value)))


@given(hashable, st.data())
def test_set_is_written_alike_in_whatever_order_it_was_made(one: Typed, data: st.DataObject) -> None:
    items = data.draw(st.lists(one.values, unique=True, max_size=8))
    shuffled = data.draw(st.permutations(items))
    codec = value_codec(set[one.annotation])  # type: ignore[name-defined]
    assert codec.encode(set(items)) == codec.encode(set(shuffled))


# -- arguments --------------------------------------------------------------------------------------------


def everything(a: int, b: int = 1, /, c: int = 2, *rest: int, d: int, e: int = 4, **others: int) -> Any:
    return a, b, c, rest, d, e, others


def keywords_only(*, d: int, e: int = 4) -> Any:
    return d, e


def positional(a: int, b: int = 1, /) -> Any:
    return a, b


def usual(a: int, c: int = 2, *, e: int = 4) -> Any:
    return a, c, e


@settings(max_examples=300)
@given(
    st.sampled_from([everything, keywords_only, positional, usual]),
    st.lists(st.integers(), max_size=5).map(tuple),
    st.dictionaries(st.sampled_from("abcdexy"), st.integers(), max_size=5),
)
def test_call_is_accepted_and_comes_back_as_python_would_have_it(
    fn: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    codec = ArgumentsCodec(fn)
    try:
        expected = fn(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError, match=fn.__name__):
            codec.encode(args, kwargs)
        return
    received_args, received_kwargs = codec.decode(codec.encode(args, kwargs))
    assert fn(*received_args, **received_kwargs) == expected


# -- envelopes and exceptions -----------------------------------------------------------------------------

KEY = bytes(range(32))

STACKS = st.sampled_from(
    [(), (ZlibCodec(threshold_bytes=8),), (AesGcmCodec(KEY),), (ZlibCodec(1, threshold_bytes=0), AesGcmCodec(KEY))]
)


@given(STACKS, st.integers(0, 64), st.text(max_size=100), st.text(max_size=100))
def test_envelope_opens_to_what_was_sealed(codecs: Any, threshold: int, plain: str, other: str) -> None:
    envelope = Envelope(codecs, blob_threshold_bytes=threshold)
    payload, digest = envelope.seal(plain), envelope.digest(plain)
    blobs = envelope.take_blobs()
    assert envelope.open(payload, blobs) == plain
    assert envelope.matches(plain, payload, digest, blobs)
    assert envelope.matches(other, payload, digest, blobs) == (plain == other)


@given(st.sampled_from([ValueError, KeyError, RuntimeError, OSError]), st.lists(PLAIN, max_size=3))
def test_exception_with_plain_arguments_comes_back_the_same(cls: type[Exception], args: list[Any]) -> None:
    error = cls(*args)
    rebuilt = rebuild_exception(record_exception(error))
    assert type(rebuilt) is type(error)
    assert same(rebuilt.args, error.args)
