"""Members of unions come back as the member that went in (rule H2)."""

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Discriminator, Field, Tag, model_serializer
from typing_extensions import TypeAliasType

from durable.codec import Secret, value_codec
from durable.errors import DecodeError, EncodeError


class Dog(BaseModel):
    name: str


class Cat(BaseModel):
    name: str


class Puppy(Dog):
    age: int = 1


@dataclasses.dataclass
class Circle:
    size: int


@dataclasses.dataclass
class Square:
    size: int


class Color(enum.StrEnum):
    RED = "red"


class Tree(BaseModel):
    left: "Tree | Leaf"


class Leaf(BaseModel):
    left: int


class Dot(BaseModel):
    kind: Literal["dot"] = "dot"
    x: int = 0


class Line(BaseModel):
    kind: Literal["line"] = "line"
    x: int = 0


class Up(BaseModel):
    kind: Literal["up"] = Field(default="up", alias="type")
    x: int = 0


class Down(BaseModel):
    kind: Literal["down"] = Field(default="down", alias="type")
    x: int = 0


def kind_of(raw: Any) -> str:
    return str(raw["kind"] if isinstance(raw, dict) else raw.kind)


BY_FIELD = Annotated[Dot | Line, Field(discriminator="kind")]
BY_ALIAS = Annotated[Up | Down, Field(discriminator="kind")]
BY_FUNCTION = Annotated[Annotated[Dot, Tag("dot")] | Annotated[Line, Tag("line")], Discriminator(kind_of)]


def other_class_of_this_name() -> type:
    @dataclasses.dataclass
    class Circle:
        size: int

    return Circle


class Aliased(BaseModel):
    text: str = Field(alias="TEXT")


class Written(BaseModel):
    """Writes itself, so that unions in it are only read."""

    shape: BY_FUNCTION
    when: str | dt.date

    @model_serializer
    def write(self) -> dict[str, Any]:
        return {"shape": {"kind": self.shape.kind, "x": self.shape.x}, "when": str(self.when)}


Pet = TypeAliasType("Pet", Dog | Cat)
Note = TypeAliasType("Note", Aliased | None)


class Home(BaseModel):
    """Defined before what it refers to; ``Pet`` and ``Note`` are shared, hence defined apart."""

    first: Pet | str
    second: Pet | Note
    third: Note | str


OtherCircle = other_class_of_this_name()

CASES: list[tuple[Any, Any, str]] = [
    # told by the kind of JSON: no tag
    (int | str | None, None, "null"),
    (int | str, 1, "1"),
    (int | str, "1", '"1"'),
    (int | float, 1, "1"),
    (int | float, 1.0, "1.0"),
    (float | int, 1, "1"),
    (bool | int | float, True, "true"),
    (bool | int | float, 1, "1"),
    (Dog | str, Dog(name="a"), '{"name":"a"}'),
    (list[Dog] | Dog, [Dog(name="a")], '[{"name":"a"}]'),
    (Literal["a"] | int, "a", '"a"'),
    (Literal["a"] | str, "b", '"b"'),  # noqa: PYI051
    (dict[str, int] | list[int], {"a": 1}, '{"a":1}'),
    (list[int] | list[str], ["a"], '["a"]'),
    # of one kind: what JSON means by the kind stays bare
    (str | dt.datetime, "2024-01-01T00:00:00", '"2024-01-01T00:00:00"'),
    (str | dt.datetime, dt.datetime(2024, 1, 1), '{"$type":"datetime","value":"2024-01-01T00:00:00"}'),
    (dt.datetime | int, dt.datetime(2024, 1, 1), '{"$type":"datetime","value":"2024-01-01T00:00:00"}'),
    (dt.datetime | int, 5, "5"),
    (Decimal | Color, Color.RED, '{"$type":"Color","value":"red"}'),
    (tuple[int, ...] | int, (1,), "[1]"),
    (dt.date | dt.datetime, dt.date(2024, 1, 1), '{"$type":"date","value":"2024-01-01"}'),
    (dt.date | dt.datetime, dt.datetime(2024, 1, 1), '{"$type":"datetime","value":"2024-01-01T00:00:00"}'),
    (str | bytes, b"ab", '{"$type":"bytes","value":"YWI="}'),
    (str | uuid.UUID, str(uuid.UUID(int=1)), f'"{uuid.UUID(int=1)}"'),
    (str | Color, Color.RED, '{"$type":"Color","value":"red"}'),
    (str | Color, "red", '"red"'),
    (str | Path, Path("/a"), '{"$type":"Path","value":"/a"}'),
    (Decimal | str, Decimal("1.0"), '{"$type":"Decimal","value":"1.0"}'),
    (list[int] | set[int], {2, 1}, '{"$type":"set","value":[1,2]}'),
    (list[int] | set[int], [2, 1], "[2,1]"),
    (list[int] | tuple[int, ...], (1,), '{"$type":"tuple","value":[1]}'),
    (Any | dt.date, dt.date(2024, 1, 1), '{"$type":"date","value":"2024-01-01"}'),
    # objects are always tagged
    (Dog | Cat, Cat(name="a"), '{"$type":"Cat","value":{"name":"a"}}'),
    (Dog | Cat | None, Dog(name="a"), '{"$type":"Dog","value":{"name":"a"}}'),
    (Dog | Puppy, Puppy(name="a"), '{"$type":"Puppy","value":{"name":"a","age":1}}'),
    (Dog | Puppy, Dog(name="a"), '{"$type":"Dog","value":{"name":"a"}}'),
    (Circle | Square, Square(1), '{"$type":"Square","value":{"size":1}}'),
    (list[Circle | Square], [Circle(1), Square(1)], ""),
    (dict[str, Circle | Dog], {"a": Circle(1), "b": Dog(name="x")}, ""),
    (Dog | dict[str, str], {"name": "a"}, '{"$type":"dict","value":{"name":"a"}}'),
    (Dog | dict[str, Any], {"$type": "Dog", "value": {"name": "a"}}, ""),
    (Circle | OtherCircle, OtherCircle(1), ""),
    (Tree | Leaf, Tree(left=Tree(left=Leaf(left=1))), ""),
    (Secret[str] | str, Secret("x"), '{"$type":"Secret","value":"x"}'),
    # shared between annotations: members of the whole
    (tuple[Pet, Pet | str], (Dog(name="a"), Cat(name="b")), ""),
    (list[Pet] | Pet, Cat(name="b"), '{"$type":"Cat","value":{"name":"b"}}'),
    (list[Home], [Home(first=Cat(name="a"), second=Aliased(TEXT="b"), third=Aliased(TEXT="c"))], ""),
    (Home, Home(first="a", second=Dog(name="b"), third=None),
     '{"first":"a","second":{"$type":"Dog","value":{"name":"b"}},"third":null}'),
    # discriminated by the user
    (BY_FIELD | str, Line(x=1), '{"$type":"Line","value":{"kind":"line","x":1}}'),
    (Written, Written(shape=Line(x=1), when="now"), '{"shape":{"kind":"line","x":1},"when":"now"}'),
    (BY_FIELD, Line(x=1), '{"kind":"line","x":1}'),
    (list[BY_FIELD], [Line(x=1), Dot()], '[{"kind":"line","x":1},{"kind":"dot","x":0}]'),
    (BY_ALIAS, Down(x=1), '{"$type":"Down","value":{"kind":"down","x":1}}'),
    # keys have no room for tags: what comes back is let through, what does not is refused below
    (dict[str | uuid.UUID, int], {uuid.UUID(int=1): 1}, ""),
    (BY_FUNCTION, Line(x=1), '{"$type":"Line","value":{"kind":"line","x":1}}'),
    (Annotated[float | int, Field(union_mode="left_to_right")], 1, "1"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "text"), CASES)
def test_member_comes_back_as_its_class(annotation: Any, value: Any, text: str) -> None:
    codec = value_codec(annotation)
    written = codec.encode(value)
    assert text in ("", written)
    received = codec.decode(written)
    assert received == value
    assert type(received) is type(value)


def test_nested_members_come_back_as_their_class() -> None:
    codec = value_codec(list[Circle | Square])
    received = codec.decode(codec.encode([Square(1), Circle(1)]))
    assert [type(one) for one in received] == [Square, Circle]


def test_untagged_json_is_read_by_the_rules_of_pydantic() -> None:
    assert value_codec(Dog | Cat).decode('{"name":"a"}') == Dog(name="a")
    assert value_codec(str | dt.datetime).decode('"2024-01-01"') == "2024-01-01"


def test_unknown_tag_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DecodeError) as caught:
        value_codec(list[Dog | Cat]).decode('[{"$type":"Cow","value":{}}]')
    assert caught.value.path == "[0]"
    assert caught.value.message == "expected [0] to be of type 'Dog', 'Cat', got 'Cow'"


def test_misfit_within_a_tag_is_told_without_the_tag_in_its_path() -> None:
    with pytest.raises(DecodeError) as caught:
        value_codec(dict[str, Dog | Cat]).decode('{"pet":{"$type":"Cat","value":{"name":3}}}')
    assert caught.value.path == "pet.name"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Dog | Cat, Puppy(name="a")),
        (Dog | Cat, 3),
        (Circle | Square, Dog(name="a")),
        (dict[str | uuid.UUID, int], {str(uuid.UUID(int=1)): 1}),
        (int | float, True),
        (BY_FIELD, Dog(name="a")),
    ],
)
def test_value_of_no_member_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(EncodeError):
        value_codec(annotation).encode(value)


def test_json_schema_of_a_union_does_not_ask_for_tags() -> None:
    schema = value_codec(Dog | Cat).json_schema()
    assert [one["$ref"] for one in schema["anyOf"]] == ["#/$defs/Dog", "#/$defs/Cat"]
