"""What needs no proof is known by its exact class; whatever could change is proved (rule H2)."""

import dataclasses
import datetime as dt
import enum
import uuid
from collections import deque
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PrivateAttr, RootModel
from pydantic_core import SchemaSerializer, SchemaValidator
from typing_extensions import TypeAliasType, TypedDict

from durable.codec import Secret, value_codec
from durable.codec.closed import compile_closed, is_plain
from durable.codec.difference import difference
from durable.codec.lossless import CONFIG, lossless
from durable.codec.problem import short
from durable.errors import EncodeError


class Color(enum.StrEnum):
    RED = "red"


class Missing(enum.Enum):
    ONE = "one"

    @classmethod
    def _missing_(cls, value: object) -> "Missing":
        return cls.ONE


class Access(enum.IntFlag):
    READ = 1


class Item(BaseModel):
    name: str
    size: int | None = None
    tags: list[str] = []


class Chain(BaseModel):
    link: "Chain | None" = None


class Trimmed(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    name: str


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Seen(BaseModel):
    name: str
    _seen: int = PrivateAttr(default=0)


class Ready(BaseModel):
    name: str

    def model_post_init(self, _context: Any) -> None:
        self.name = self.name.strip()


class Made(BaseModel):
    name: str

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)


class Wide(BaseModel):
    a: int | str | bool | None
    b: int | str | bool | None
    c: int | str | bool | None
    d: int | str | bool | None


class Numbers(RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass(slots=True)
class Slot:
    x: int


@dataclasses.dataclass(slots=True)
class OpaqueSlot:
    x: Path


@dataclasses.dataclass
class OpaqueRecord:
    x: Path


@dataclasses.dataclass
class Checked:
    x: int

    def __post_init__(self) -> None:
        self.x += 0


class Pair(NamedTuple):
    left: int
    right: str = ""


class OpaquePair(NamedTuple):
    left: Path


class Options(TypedDict, total=False):
    depth: int


class OpenOptions(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    depth: int


class OpaqueOptions(TypedDict):
    path: Path


UTC_NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
Shared = TypeAliasType("Shared", Item | None)
Amount = TypeAliasType("Amount", Decimal)

CLOSED: list[tuple[Any, Any]] = [
    (int, 1),
    (float, 1.5),
    (bytes, b""),
    (Any, {"a": [1, None]}),
    (Color, Color.RED),
    (Missing, Missing.ONE),
    (Access, Access(9)),
    (uuid.UUID, uuid.UUID(int=1)),
    (Decimal, Decimal(1)),
    (dt.datetime, UTC_NOON),
    (dt.datetime, UTC_NOON.replace(tzinfo=None)),
    (dt.datetime, UTC_NOON.astimezone(dt.timezone(dt.timedelta(hours=1)))),
    (dt.timedelta, dt.timedelta(1)),
    (Literal["a", 1], "a"),
    (list[int], [1]),
    (list, [1]),
    (dict, {"a": 1}),
    (dict[Any, int], {"a": 1}),
    (set[str], {"a"}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)),
    (tuple[Item, ...], (Item(name="a"),)),
    (dict[str, Item], {"a": Item(name="a", size=1)}),
    (dict[uuid.UUID, int], {uuid.UUID(int=1): 1}),
    (Item | None, Item(name="a")),
    (list[Item] | Item, Item(name="a")),
    (str | dt.date, dt.date(2024, 1, 1)),
    (Point, Point(1)),
    (Slot, Slot(1)),
    (Pair, Pair(1)),
    (Options, {"depth": 1}),
    (Options, {}),
    (Secret[str], Secret("x")),
]


@pytest.mark.parametrize(("annotation", "value"), CLOSED)
def test_usual_value_needs_no_proof(annotation: Any, value: Any) -> None:
    codec = value_codec(annotation)
    assert codec.machine.is_closed(value)
    assert difference(value, codec.decode(codec.encode(value))) is None


UNPROVED: list[tuple[Any, Any]] = [
    # values that are not exactly of the annotated class
    (int, True),
    (str, Color.RED),
    (float, 1),
    (list[int], [True]),
    (list[Item], [1]),
    (tuple[int, str], (1,)),
    (dict[str, int], {1: 1}),
    (dict, {1: 1}),
    (dt.datetime, UTC_NOON.astimezone(dt.timezone(dt.timedelta(seconds=30)))),
    (dt.datetime, UTC_NOON.astimezone(ZoneInfo("Europe/Berlin"))),
    (dt.time, dt.time(tzinfo=ZoneInfo("Europe/Berlin"))),
    (Decimal, Decimal("NaN")),
    (Literal["a"], "b"),
    (Literal["a"], ["a"]),
    (Point, Item(name="a")),
    (Slot, Point(1)),
    (Item, Item.model_construct(name=3)),
    (Item, Item.model_construct(other=3)),
    (Options, {"deep": 1}),
    (Options, {"depth": "x"}),
    (str | dt.date, 3),
    # annotations of which too little is known
    (Annotated[int, Field(gt=1)], 2),
    (Annotated[dt.datetime, Field(gt=UTC_NOON)], UTC_NOON + dt.timedelta(1)),
    (Annotated[Decimal, Field(gt=1)], Decimal(2)),
    (Annotated[list[int], Field(min_length=1)], [1]),
    (Annotated[tuple[int, ...], Field(min_length=1)], (1,)),
    (Annotated[dict[str, int], Field(min_length=1)], {"a": 1}),
    (Annotated[int, AfterValidator(abs)], 1),
    (Annotated[int, PlainSerializer(str)], 1),
    (Annotated[set[int], PlainSerializer(list)], {1}),
    (Annotated[Color, PlainSerializer(str)], Color.RED),
    (Annotated[int | str, PlainSerializer(str)], 1),
    (Literal[Color.RED], Color.RED),
    (Literal[True, 1], 1),
    (Path, Path("/a")),
    (list[Path], [Path("/a")]),
    (tuple[Path, ...], (Path("/a"),)),
    (tuple[int, Path], (1, Path("/a"))),
    (dict[str, Path], {"a": Path("/a")}),
    (dict[bytes, int], {b"a": 1}),
    (deque[int], deque([1])),
    (Secret[Path], Secret(Path("/a"))),
    (list[int] | list[str], [1]),
    (Path | None, Path("/a")),
    (Chain, Chain(link=Chain())),
    (Trimmed, Trimmed(name="a")),
    (Open, Open(name="a")),
    (Seen, Seen(name="a")),
    (Ready, Ready(name="a")),
    (Made, Made(name="a")),
    (Numbers, Numbers([1])),
    (Checked, Checked(1)),
    (OpaqueSlot, OpaqueSlot(Path("/a"))),
    (OpaqueRecord, OpaqueRecord(Path("/a"))),
    (OpaquePair, OpaquePair(Path("/a"))),
    (OpenOptions, {"depth": 1}),
    (OpaqueOptions, {"path": Path("/a")}),
]


@pytest.mark.parametrize(("annotation", "value"), UNPROVED)
def test_anything_else_is_proved(annotation: Any, value: Any) -> None:
    assert not value_codec(annotation).machine.is_closed(value)


def test_proof_lets_through_what_comes_back() -> None:
    for annotation, value in UNPROVED:
        codec = value_codec(annotation)
        try:
            text = codec.encode(value)
        except EncodeError:
            continue
        assert difference(value, codec.decode(text)) is None


def test_plain_json_is_known_down_to_a_depth() -> None:
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]
    assert is_plain(deep)
    for _ in range(50):
        deep = [deep]
    assert not is_plain(deep)
    assert not is_plain({"a": (1,)})
    assert not is_plain({1: "a"})


def test_shapes_that_are_remembered_are_bounded() -> None:
    codec = value_codec(Wide)
    for shape in product([1, "x", True, None], repeat=4):
        wide = Wide(**dict(zip("abcd", shape, strict=True)))
        assert codec.machine.is_closed(wide)
        assert codec.decode(codec.encode(wide)) == wide


def test_field_that_was_taken_away_is_not_made_up() -> None:
    item = Item.model_construct(name="a", size=1)
    del item.__dict__["size"]
    with pytest.raises(EncodeError, match="expected size to be set, got nothing, which comes back as None"):
        value_codec(Item).encode(item)


# -- schemas of shapes that only some versions of pydantic make, or only some annotations ----------------


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (list[Shared | str], [Item(name="a"), None, "x"], ""),
        (dict[str, Shared | list[Shared]], {"a": None}, '{"a":null}'),
        (tuple[Amount | str, Amount], (Decimal(1), Decimal(2)), '[{"$type":"Decimal","value":"1"},"2"]'),
        (tuple[Annotated[Amount, AfterValidator(abs)] | str, Amount], (Decimal(1), Decimal(2)), ""),
        (Annotated[Item, AfterValidator(lambda item: item)] | list[int], [1], "[1]"),
        (Pair | str, Pair(1), '{"$type":"Pair","value":[1,""]}'),
        (Annotated[Decimal, Field(gt=0)], Decimal("1.0"), '"1.0"'),
    ],
)
def test_shared_and_wrapped_members_come_back(annotation: Any, value: Any, text: str) -> None:
    codec = value_codec(annotation)
    written = codec.encode(value)
    assert text in ("", written)
    assert difference(value, codec.decode(written)) is None


def test_named_tuple_that_is_a_call_of_its_class_comes_back() -> None:
    """As pydantic before 2.14 has it; and a labelled choice of a union."""
    parameters = [
        {"name": "left", "schema": {"type": "int"}},
        {"name": "right", "schema": {"type": "default", "schema": {"type": "str"}, "default": ""}},
    ]
    call = {
        "type": "call",
        "function": Pair,
        "arguments_schema": {"type": "arguments", "arguments_schema": parameters},
    }
    union = {"type": "union", "choices": [(call, "pair"), {"type": "str"}]}
    schema, _ = lossless({"type": "list", "items_schema": union})
    written = SchemaSerializer(schema, CONFIG).to_json([Pair(1, "a"), "x"])
    assert written == b'[{"$type":"Pair","value":[1,"a"]},"x"]'
    assert SchemaValidator(schema, CONFIG).validate_json(written) == [Pair(1, "a"), "x"]
    assert compile_closed(schema)([Pair(1, "a")])
    other = {"type": "call", "function": abs, "arguments_schema": {"type": "arguments", "arguments_schema": []}}
    assert "serialization" not in lossless(other)[0]
    assert not compile_closed(lossless(other)[0])(1)
    written_by_itself = {**union, "serialization": {"type": "to-string"}}
    assert [one["type"] for one in lossless(written_by_itself)[0]["choices"]] == ["call", "str"]


def test_integer_with_too_many_digits_is_shown_all_the_same() -> None:
    assert len(short([10**5000])) < 200
