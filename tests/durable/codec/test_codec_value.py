"""Values of every kind come back equal and of their class, or are refused with their path (rule H2)."""

import dataclasses
import datetime as dt
import enum
import ipaddress
import json
import math
import os
import re
import subprocess
import sys
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    model_validator,
)
from typing_extensions import TypedDict

from durable.codec import value_codec
from durable.errors import DecodeError, DefinitionError, EncodeError

T = TypeVar("T")


class Color(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Shape(enum.Enum):
    POINT = (0, 0)
    HOUR = dt.timedelta(hours=1)


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Dog(BaseModel):
    name: str


class Puppy(Dog):
    age: int = 1


class Aliased(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper)
    name: str
    hidden: int = Field(default=0, exclude=True)

    @computed_field
    @property
    def loud(self) -> str:
        return self.name.upper()


class Holder(BaseModel):
    inner: Aliased
    data: bytes = b""
    ratio: float = 0.0


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int


class Private(BaseModel):
    x: int
    _seen: int = PrivateAttr(default=0)


def touched_private() -> Private:
    private = Private(x=1)
    private._seen = 2
    return private


class Page(BaseModel, Generic[T]):
    items: list[T]


class Numbers(RootModel[list[int]]):
    pass


class Checked(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def check(self) -> "Checked":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Shown(BaseModel):
    at: dt.date

    @field_serializer("at")
    def show(self, at: dt.date) -> str:
        return at.strftime("%d.%m.")


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str] = dataclasses.field(default_factory=set)
    data: bytes = b""


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    x: int
    y: float | None = None


@dataclasses.dataclass
class Derived:
    x: int
    double: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.double = self.x * 2


class Pair(NamedTuple):
    left: int
    right: bytes = b""
    rest: frozenset[str] = frozenset()


class Options(TypedDict, total=False):
    depth: int
    key: bytes


FROM_UNIX = Annotated[
    dt.datetime,
    BeforeValidator(lambda raw: dt.datetime.fromtimestamp(raw, dt.UTC) if isinstance(raw, int) else raw),
    PlainSerializer(lambda at: int(at.timestamp()), return_type=int),
]

ROUND_TRIPS: list[tuple[Any, Any, str]] = [
    (str, 'häuser \n " \\ \x00 \x7f', ""),
    (int, -(2**70), ""),
    (int, 5, "5"),
    (bool, True, "true"),
    (bool, False, "false"),
    (None, None, "null"),
    (float, 1.5, "1.5"),
    (float, 1e16, ""),
    (float, math.inf, "Infinity"),
    (list[float], [-math.inf, -0.0], "[-Infinity,-0.0]"),
    (bytes, b"\xff\x00", '"_wA="'),
    (Decimal, Decimal("1.00"), '"1.00"'),
    (uuid.UUID, uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
    (Fraction, Fraction(1, 3), '"1/3"'),
    (complex, 1 + 2j, ""),
    (dt.date, dt.date(2024, 2, 29), '"2024-02-29"'),
    (dt.time, dt.time(1, 2, 3, 4), ""),
    (dt.datetime, dt.datetime(2024, 1, 1, 12), '"2024-01-01T12:00:00"'),
    (dt.datetime, dt.datetime(2024, 1, 1, 12, 0, 0, 1, tzinfo=dt.UTC), '"2024-01-01T12:00:00.000001Z"'),
    (dt.datetime, dt.datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), '"2024-07-01T00:00:00+02:00[Europe/Berlin]"'),
    (dt.timedelta, dt.timedelta(days=-1, microseconds=1), ""),
    (dt.timedelta, dt.timedelta.max, ""),
    (dt.timedelta, dt.timedelta.min, ""),
    (Path, Path("/etc/hosts"), '"/etc/hosts"'),
    (AnyUrl, AnyUrl("https://example.org/x"), ""),
    (ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1"), '"10.0.0.1"'),
    (re.Pattern, re.compile("a+"), '"a+"'),
    (Color, Color.RED, '"red"'),
    (Size, Size.SMALL, "1"),
    (Shape, Shape.POINT, '"POINT"'),
    (list[Shape], [Shape.HOUR], '["HOUR"]'),
    (Access, Access.READ | Access.WRITE, "3"),
    (Literal["a", 1] | None, "a", '"a"'),
    (Literal[Color.RED], Color.RED, '"red"'),
    (list[int], [1, 2], "[1,2]"),
    (set[int], {10, 9}, "[9,10]"),
    (frozenset[str], frozenset("cab"), '["a","b","c"]'),
    (set[Pair], {Pair(2), Pair(1)}, '[[1,"",[]],[2,"",[]]]'),
    (tuple[int, str], (1, "a"), '[1,"a"]'),
    (tuple[int, ...], (1, 2, 3), "[1,2,3]"),
    (tuple[()], (), "[]"),
    (deque[int], deque([1, 2]), "[1,2]"),
    (dict[str, int], {"b": 1, "a": 2}, '{"b":1,"a":2}'),
    (dict[int, str], {1: "a"}, '{"1":"a"}'),
    (dict[bytes, int], {b"\xff": 1}, '{"_w==":1}'),
    (dict[float, int], {math.inf: 1, 0.5: 2}, ""),
    (OrderedDict[str, int], OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    (defaultdict[str, list[int]], defaultdict(list, a=[1]), '{"a":[1]}'),
    (Counter[str], Counter("aab"), '{"a":2,"b":1}'),
    (Sequence[int], [1, 2], "[1,2]"),
    (Iterable[int], [1, 2], "[1,2]"),
    (Mapping[str, int], {"a": 1}, '{"a":1}'),
    (Dog, Dog(name="Rex"), '{"name":"Rex"}'),
    (Aliased, Aliased(NAME="x", HIDDEN=5), '{"name":"x","hidden":5}'),
    (Holder, Holder(inner=Aliased(NAME="x"), data=b"\xff", ratio=math.inf), ""),
    (list[Holder], [Holder(inner=Aliased(NAME="x"), data=b"\xff")], ""),
    (Tree, Tree(value=1, children=[Tree(value=2)]), '{"value":1,"children":[{"value":2,"children":[]}]}'),
    (Open, Open(x=1, y=[2]), '{"x":1,"y":[2]}'),
    (Private, Private(x=1), '{"x":1}'),
    (Page[int], Page[int](items=[1]), '{"items":[1]}'),
    (Numbers, Numbers([1, 2]), "[1,2]"),
    (Checked, Checked(low=1, high=2), '{"low":1,"high":2}'),
    (Point, Point(1, {"b", "a"}, b"\xff"), '{"x":1,"tags":["a","b"],"data":"_w=="}'),
    (Slotted, Slotted(1, 2.0), '{"x":1,"y":2.0}'),
    (Slotted, Slotted(1), '{"x":1,"y":null}'),
    (Derived, Derived(2), ""),
    (Pair, Pair(1, b"\xff", frozenset("ba")), '[1,"_w==",["a","b"]]'),
    (Options, {"depth": 1}, '{"depth":1}'),
    (Annotated[int, Field(gt=3)], 4, "4"),
    (Annotated[str, AfterValidator(str.strip)], "x", '"x"'),
    (FROM_UNIX, dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "1704067200"),
    (Any, {"a": [1, 2.5, None, True, {"b": "c"}]}, '{"a":[1,2.5,null,true,{"b":"c"}]}'),
    (Any, math.inf, "Infinity"),
    (object, 3, "3"),
    (Parameter.empty, [1], "[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "text"), ROUND_TRIPS)
def test_value_comes_back_equal_and_of_its_class(annotation: Any, value: Any, text: str) -> None:
    codec = value_codec(annotation)
    written = codec.encode(value)
    assert text in ("", written)
    for received in (codec.decode(written), codec.decode(written.encode())):
        assert received == value
        assert type(received) is type(value)
        assert codec.encode(received) == written


def test_nan_comes_back() -> None:
    codec = value_codec(dict[str, float])
    assert codec.encode({"a": math.nan}) == '{"a":NaN}'
    assert math.isnan(codec.decode('{"a":NaN}')["a"])


def test_nested_parts_come_back_of_their_class() -> None:
    codec = value_codec(Holder)
    received = codec.decode(codec.encode(Holder(inner=Aliased(NAME="x", HIDDEN=3), data=b"\xff")))
    assert type(received.inner) is Aliased
    assert (received.inner.hidden, received.data) == (3, b"\xff")


def test_datetime_in_the_repeated_hour_of_autumn_comes_back() -> None:
    codec = value_codec(dt.datetime)
    for fold in (0, 1):
        sent = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
        received = codec.decode(codec.encode(sent))
        assert received.astimezone(dt.UTC) == sent.astimezone(dt.UTC)
        assert received.utcoffset() == sent.utcoffset()


def test_datetime_keeps_its_zone_wherever_it_is() -> None:
    sent = dt.datetime(2026, 3, 28, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    day = dt.timedelta(days=1)
    for annotation, value, pick in (
        (dt.datetime, sent, lambda got: got),
        (list[dt.datetime], [sent], lambda got: got[0]),
        (dt.datetime | None, sent, lambda got: got),
        (dt.datetime | str, sent, lambda got: got),
        (dict[dt.datetime, int], {sent: 1}, lambda got: next(iter(got))),
    ):
        codec = value_codec(annotation)
        received = pick(codec.decode(codec.encode(value)))
        assert received.tzinfo == sent.tzinfo
        assert (received + day).astimezone(dt.UTC) == (sent + day).astimezone(dt.UTC)


def test_datetime_with_an_unknown_zone_is_refused() -> None:
    with pytest.raises(DecodeError, match="datetime"):
        value_codec(dt.datetime).decode('"2026-03-28T09:00:00+01:00[Europe/Nowhere]"')


def test_int_for_float_comes_back_as_float() -> None:
    codec = value_codec(float)
    assert codec.encode(3) == "3.0"
    assert type(codec.decode("3.0")) is float
    assert codec.decode("3") == 3.0


def test_set_is_written_alike_under_every_hash_seed() -> None:
    program = (
        "from durable.codec import value_codec\n"
        "print(value_codec(set[str]).encode({'alpha', 'beta', 'gamma', 'delta', 'epsilon'}))"
    )
    texts = set()
    for seed in ("1", "2", "3"):
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
        texts.add(done.stdout)
    assert texts == {'["alpha","beta","delta","epsilon","gamma"]\n'}


def test_model_is_read_by_field_name_not_by_alias() -> None:
    codec = value_codec(Aliased)
    assert codec.decode('{"name":"x"}').name == "x"
    with pytest.raises(DecodeError, match="expected name to be given"):
        codec.decode('{"NAME":"x"}')


REFUSED: list[tuple[Any, Any, str, str]] = [
    (int, True, "", "expected the value to be exactly int, got True"),
    (int, Size.SMALL, "", "annotate Size, or pass int"),
    (str, Color.RED, "", "annotate Color, or pass str"),
    (str, 3, "", "expected the value to be a valid string, got 3"),
    (str, "\ud800", "", "surrogates not allowed"),
    (float, 2**60 + 1, "", "comes back as 1.15"),
    (float, True, "", "expected the value to come back as bool"),
    (list[int], [10**5000], "", "number out of range"),
    (None, 3, "", "expected the value to be null, got 3"),
    (bool, 1, "", "annotate int"),
    (Any, (1, 2), "", "annotate tuple"),
    (Any, {"a": [1, {"b": dt.date(2024, 1, 1)}]}, "a[1].b", "where nothing is annotated, only plain JSON"),
    (Any, {"a": {1}}, "a", "annotate set"),
    (Any, {"a": b"x"}, "a", "annotate bytes"),
    (Any, Point(1), "", "annotate Point"),
    (Any, {1: 2}, "[1]", "to be a string key"),
    (Any, {"a": object()}, "a", "a value that JSON can carry, got <object"),
    (Any, {"a": SecretStr("x")}, "a", "durable.Secret"),
    (list[int], ["x"], "[0]", "valid integer"),
    (list[int], (1,), "", "annotate tuple"),
    (list[int], [1, True], "[1]", "exactly int"),
    (dict[str | int, int], {1: 2}, "[1]", "annotate keys of one type"),
    (dict[str, Point], {"k": Point(1, data="s")}, "k.data", "base64"),  # type: ignore[arg-type]
    (Dog, Puppy(name="Rex"), "", "whose class Puppy would be lost"),
    (list[Dog], [Dog(name="Rex"), Puppy(name="Rex")], "[1]", "annotate Puppy, or pass Dog"),
    (Dog, {"name": "Rex"}, "", "annotate dict"),
    (Dog, Dog.model_construct(name=3), "name", "valid string, got 3"),
    (Private, touched_private(), "_seen", "come back equal"),
    (Open, Open(x=1, y=(2,)), "y", "annotate tuple"),
    (Private, Private.model_construct(), "x", "expected x to be given"),
    (Checked, Checked.model_construct(low=2, high=1), "", "low is above high"),
    (Shown, Shown(at=dt.date(2024, 1, 2)), "at", "valid date"),
    (Options, {"depth": 1, "deep": 2}, "deep", "to be annotated, got 2, which would be dropped"),
    (Annotated[int, Field(gt=3)], 3, "", "greater than 3"),
    (Annotated[str, AfterValidator(str.strip)], " x", "", "come back equal"),
    (dt.date, dt.datetime(2024, 1, 1), "", "annotate datetime, or pass date"),
    (dt.datetime, dt.datetime(1890, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")), "", "come back equal"),
    (dt.time, dt.time(1, tzinfo=ZoneInfo("Europe/Berlin")), "", "come back equal"),
    (deque[int], deque([1], maxlen=3), "", "come back equal"),
    (Decimal, Decimal("NaN"), "", "finite number"),
    (re.Pattern, re.compile("a", re.IGNORECASE), "", "come back equal"),
    (Literal["a", 1], "b", "", "'a' or 1"),
    (Literal[1], True, "", "exactly int"),
    (Sequence[int], (1,), "", "annotate tuple"),
    (Iterable[int], iter([1]), "", "annotate list_iterator"),
    (Callable[[], int], print, "", "a value that JSON can carry"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "path", "words"), REFUSED)
def test_value_that_would_change_is_refused_with_its_path(annotation: Any, value: Any, path: str, words: str) -> None:
    with pytest.raises(EncodeError) as caught:
        value_codec(annotation).encode(value)
    assert caught.value.path == path
    assert words in caught.value.message


def test_cyclic_value_is_refused() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    with pytest.raises(EncodeError, match="Circular reference"):
        value_codec(Any).encode(cyclic)


def test_value_nested_too_deeply_to_be_read_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(240):
        deep = [deep]
    with pytest.raises(EncodeError):
        value_codec(Any).encode(deep)


def test_serializer_of_the_user_that_raises_is_refused() -> None:
    def burst(_value: Any) -> Any:
        raise RuntimeError("burst")

    with pytest.raises(EncodeError, match="burst"):
        value_codec(Annotated[int, PlainSerializer(burst)]).encode(3)


def test_validator_of_the_user_that_raises_is_told() -> None:
    def burst(_value: Any) -> Any:
        raise RuntimeError("burst")

    codec = value_codec(Annotated[int, AfterValidator(burst)])
    with pytest.raises(EncodeError, match="RuntimeError: burst"):
        codec.encode(3)
    with pytest.raises(DecodeError, match="RuntimeError: burst"):
        codec.decode("3")


def test_class_whose_equality_raises_is_refused() -> None:
    class Odd:
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

    annotation = Annotated[Any, PlainSerializer(lambda _odd: 1), AfterValidator(lambda _raw: Odd())]
    with pytest.raises(EncodeError, match="come back equal"):
        value_codec(annotation).encode(Odd())


MISFITS: list[tuple[Any, str, str, str]] = [
    (int, '"x"', "", "to be a valid integer, unable to parse string as an integer, got 'x'"),
    (dict[str, list[Point]], '{"k":[{"x":1},{"x":"q"}]}', "k[1].x", "got 'q'"),
    (Holder, "{}", "inner", "expected inner to be given"),
    (Holder, '{"inner":{}}', "inner.name", "expected inner.name to be given"),
    (int | list[int], '{"int":1}', "", "a valid integer or a valid array, got {'int': 1}"),
    (dict[int, int], '{"a":1}', "a", "valid integer"),
    (dict[str, int], '{"odd key":"x"}', "['odd key']", ""),
    (Strict, '{"x":1,"y":2}', "y", "expected the value to have no 'y'"),
    (list[Strict], '[{"x":1,"y":2}]', "[0].y", "expected [0] to have no 'y'"),
    (int, "nope", "", "expected the value to be JSON"),
    (str, "", "", "to be JSON"),
    (Any, "{", "", "to be JSON"),
    (Shape, '"CIRCLE"', "", "expected the value to be valid, got 'CIRCLE'"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "text", "path", "words"), MISFITS)
def test_json_that_does_not_fit_is_refused_with_its_path(annotation: Any, text: str, path: str, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        value_codec(annotation).decode(text)
    assert caught.value.path == path
    assert words in caught.value.message


def test_many_misfits_are_told_up_to_a_limit() -> None:
    with pytest.raises(DecodeError) as caught:
        value_codec(list[int]).decode('["a","b","c","d","e","f","g"]')
    assert caught.value.message.count("expected") == 5
    assert caught.value.message.endswith("and 2 more")


@pytest.mark.parametrize("annotation", [SecretStr, list[SecretBytes], dict[str, SecretStr | None]])
def test_secret_of_pydantic_is_refused_at_definition(annotation: Any) -> None:
    class Login(BaseModel):
        password: annotation

    with pytest.raises(DefinitionError, match=r"expected password to be a durable\.Secret"):
        value_codec(Login).prepare()


@pytest.mark.parametrize("annotation", [memoryview, 3, "Unknown"])
def test_annotation_that_pydantic_does_not_know_is_refused_at_definition(annotation: Any) -> None:
    with pytest.raises(DefinitionError, match="to be a type that pydantic can carry as JSON"):
        value_codec(annotation).prepare()


def test_nothing_is_compiled_before_the_first_use() -> None:
    value_codec(memoryview)


def test_codec_is_cached_by_annotation() -> None:
    assert value_codec(list[int]) is value_codec(list[int])
    assert value_codec(Annotated[int, []]).encode(3) == "3"  # not hashable, hence not cached
    assert repr(value_codec(int)) == "<codec of int>"


def test_json_schema_names_fields_by_name() -> None:
    schema = value_codec(Aliased).json_schema()
    assert list(schema["properties"]) == ["name", "hidden"]
    assert json.dumps(schema)


def test_json_schema_of_what_has_none_is_refused() -> None:
    with pytest.raises(DefinitionError, match="to have a JSON Schema"):
        value_codec(Callable[[], int]).json_schema()
