"""Checking values against published JSON schemas, without the code that they are meant for."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from durable.codec import value_codec
from durable.codec.schema import check_schema
from durable.errors import MessageRejectedError


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Item(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    price: Annotated[float, Field(gt=0)] = 1.0
    sizes: list[Size] = []


class Order(BaseModel):
    items: Annotated[list[Item], Field(max_length=2)]
    note: str | None = None


GOOD: list[tuple[Any, Any]] = [
    (int, 3),
    (float, 3),
    (bool, True),
    (str | None, None),
    (Literal["a", "b"], "a"),
    (Order, {"items": [{"name": "x", "price": 2.5, "sizes": ["s"]}]}),
    (Order, {"items": [], "note": None}),
    (dict[str, int], {"a": 1}),
    (tuple[int, str], [1, "x"]),
    (Any, {"anything": [1, None]}),
]

BAD: list[tuple[Any, Any, str]] = [
    (int, "3", ""),
    (int, True, ""),
    (int, None, ""),
    (Literal["a", "b"], "c", ""),
    (Order, {}, "items"),
    (Order, {"items": [{"name": ""}]}, "items[0].name"),
    (Order, {"items": [{"name": "x", "price": 0}]}, "items[0].price"),
    (Order, {"items": [{"name": "x", "sizes": ["m"]}]}, "items[0].sizes[0]"),
    (Order, {"items": [{"name": "x"}] * 3}, "items"),
    (Order, {"items": [], "note": 3}, "note"),
    (dict[str, int], {"a": "x"}, "a"),
    (tuple[int, str], [1, 2], "[1]"),
]


@pytest.mark.parametrize(("annotation", "value"), GOOD)
def test_value_that_fits_passes(annotation, value):
    check_schema(value, value_codec(annotation).json_schema(), "it")


@pytest.mark.parametrize(("annotation", "value", "path"), BAD)
def test_value_that_does_not_fit_is_refused_with_its_path(annotation, value, path):
    with pytest.raises(MessageRejectedError, match="it does not fit its schema") as caught:
        check_schema(value, value_codec(annotation).json_schema(), "it")
    assert caught.value.data["path"] == path


def test_unknown_keywords_are_ignored():
    check_schema(3, {"type": "integer", "x-made-up": True}, "it")
