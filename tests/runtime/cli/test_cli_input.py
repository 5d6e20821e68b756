"""What users type: JSON with the place of a mistake, pairs, durations, instants, forms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from cli.command import Cli
from durable.errors import ConfigurationError, MessageRejectedError
from durable.timeline.text import show_duration
from runtime.cli.argument import parse_input, parse_json, parse_pairs, parse_value
from runtime.cli.form import describe, example, fields_of, fill
from runtime.cli.moment import parse_duration, parse_instant


def test_bad_json_is_told_with_line_column_and_a_mark() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_json('{"a": 1,\n "b" 2}', "--input")
    lines = caught.value.message.splitlines()
    assert lines[0] == "--input is not JSON: Expecting ':' delimiter at line 2, column 6"
    assert lines[1].strip() == '"b" 2}'
    assert lines[1][lines[2].index("^")] == "2"
    assert caught.value.data == {"line": 2, "column": 6}


def test_mark_stays_below_the_place_in_a_long_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_json('["' + "x" * 500 + '", oops]', "it")
    _, shown, mark = caught.value.message.splitlines()
    assert shown[mark.index("^") :].startswith("oops")


@pytest.mark.parametrize("text", ["", "   ", "\n", '{"n":\n', "[1,\n\n", '["\u2028",\n x]', "[" * 100_000])
def test_hopeless_json_is_refused_too(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_json(text, "it")


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("v1", None, "v1"),
        ("1.0", None, 1.0),
        ("1.0", {"type": "string"}, "1.0"),
        ("null", {"type": "string"}, "null"),
        ("null", {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ("1", {"type": "integer"}, 1),
        ("true", {"type": "boolean"}, True),
        ("true", {"type": "string"}, "true"),
        ('"v1"', {"type": "string"}, "v1"),
        ("eu", {"enum": ["eu", "us"], "type": "string"}, "eu"),
        ("{a", {"type": "string"}, "{a"),
        ("abc", {"type": "integer"}, "abc"),
    ],
)
def test_value_is_json_or_text_as_the_schema_wants_it(text: str, schema: dict[str, Any] | None, value: Any) -> None:
    parsed = parse_value(text, "it", schema)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize("text", ['{"a": 1', "[1,", '"open'])
def test_value_that_looks_like_json_must_be_json(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not JSON"):
        parse_value(text, "it")


def test_value_names_a_file_only_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text("[1]")
    assert parse_value(f"@{tmp_path}/v.json", "it", may_name_file=True) == [1]
    assert parse_value("@alice", "it") == "@alice"


def test_inputs_are_merged_and_later_keywords_win() -> None:
    assert parse_input(['{"a": 1, "b": 2}', "b=3", "[7]"]) == ([7], {"a": 1, "b": 3})


def test_pairs_follow_references_of_the_schema() -> None:
    schema = {
        "properties": {"place": {"$ref": "#/$defs/Place"}},
        "$defs": {"Place": {"type": "string"}},
    }
    assert parse_input(["place=12"], schema) == ([], {"place": "12"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["v1"], "NAME=VALUE"),
        (["=v1"], "NAME=VALUE"),
        (["[1]", "[2]"], "at most one JSON array"),
        (["@/no/such/file"], "cannot be read"),
        (['{"a":'], "line 1, column 6"),
    ],
)
def test_input_that_cannot_be_understood_is_refused(given: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_input(given)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        parse_input([f"@{tmp_path}/v.json"])


def test_pairs_need_names() -> None:
    assert parse_pairs(["a=1", "b=x"], "--attribute") == {"a": 1, "b": "x"}
    with pytest.raises(ConfigurationError, match="--attribute"):
        parse_pairs(["a"], "--attribute")


# -- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * 86_400),
        ("1h30m", 5_400),
        ("45s", 45),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("2w", 1_209_600),
        ("0s", 0),
        ("3min", 180),
    ],
)
def test_durations_are_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text, "it") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "30", "1.5", "1h30", "30x", "d", "-3d", "1h later", "9" * 30 + "w"])
def test_durations_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--older-than"):
        parse_duration(text, "--older-than")


def test_instants_are_iso_or_so_long_ago() -> None:
    assert parse_instant("2026-11-20T14:00:00+00:00", "it") == datetime(2026, 11, 20, 14, tzinfo=UTC)
    assert parse_instant("2026-11-20", "it").tzinfo is not None
    assert abs(datetime.now(UTC) - timedelta(days=3) - parse_instant("3d", "it")) < timedelta(minutes=1)
    with pytest.raises(ConfigurationError, match="--started-after"):
        parse_instant("yesterday", "--started-after")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=12), "12 ms"),
        (timedelta(seconds=90), "1.5 min"),
        (timedelta(-1), "0 ms"),
    ],
)
def test_durations_are_shown_for_people(duration: timedelta, text: str) -> None:
    assert show_duration(duration) == text


# -- forms ------------------------------------------------------------------------------------------------


class Address(BaseModel):
    city: str


class Order(BaseModel):
    """With a nested object, a default and a choice."""

    name: str
    size: int = 3
    address: Address
    note: str | None = None


def schema_of(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


def test_form_of_an_object_has_a_line_for_each_field() -> None:
    fields = fields_of(schema_of(Order))
    assert [(field.name, field.is_required) for field in fields] == [
        ("name", True),
        ("size", False),
        ("address", True),
        ("note", False),
    ]
    assert [field.hint for field in fields] == [
        "text",
        "whole number, default 3",
        "JSON object",
        "text or null, default null",
    ]


def test_form_of_anything_else_is_one_line() -> None:
    (field,) = fields_of(schema_of(int))
    assert (field.name, field.hint) == ("", "whole number")


def test_secret_fields_are_marked() -> None:
    (field,) = fields_of({"type": "object", "properties": {"pin": {"type": "string", "writeOnly": True}}})
    assert field.is_secret


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"enum": ["eu", "us"]}, "one of eu, us"),
        ({"const": 3}, "3"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "integer", "description": "how many"}, "how many (whole number)"),
        ({}, "JSON"),
    ],
)
def test_schema_is_described_in_words(schema: dict[str, Any], words: str) -> None:
    assert describe(schema) == words


def test_filled_line_must_fit_its_field() -> None:
    fields = {field.name: field for field in fields_of(schema_of(Order))}
    assert fill(fields["size"], " 4 ") == 4
    assert fill(fields["address"], '{"city": "Rome"}') == {"city": "Rome"}
    with pytest.raises(MessageRejectedError, match="size"):
        fill(fields["size"], "many")
    with pytest.raises(MessageRejectedError, match=r"address\b.*city"):
        fill(fields["address"], "{}")


@pytest.mark.parametrize(
    ("schema", "text"),
    [({"enum": ["eu"]}, "eu"), ({"type": "string"}, "TEXT"), ({"type": "integer"}, "1"), ({"type": "array"}, "JSON")],
)
def test_example_of_an_answer_has_the_right_form(schema: dict[str, Any], text: str) -> None:
    assert example(schema) == text


KW = """
from durable import Context, workflow

@workflow
async def kw(ctx: Context, a: int, *rest: int, b: int = 5, **more: str) -> list:
    return [a, list(rest), b, more]
"""


@pytest.mark.parametrize(
    ("given", "result"),
    [
        (['{"a": 1, "c": "x"}'], [1, [], 5, {"c": "x"}]),
        (["a=1", "c=x"], [1, [], 5, {"c": "x"}]),
        (["[1, 2, 3]", "b=7"], [1, [2, 3], 7, {}]),
        (["[1, 2, 3]"], [1, [2, 3], 5, {}]),
        (["[1, 2]", "more=x"], [1, [2], 5, {"more": "x"}]),
        (['{"a": 1, "*": [2], "**": {"c": "x"}}', "d=y"], [1, [2], 5, {"c": "x", "d": "y"}]),
    ],
)
def test_arguments_of_a_variadic_workflow(cli: Cli, folder: Path, given: list[str], result: list[Any]) -> None:
    (folder / "kw.py").write_text(KW)
    flags = [word for text in given for word in ("-i", text)]
    for target in ("kw.py", "kw"):  # by its code, and by its name once that is published
        cli("start", target, "--id", f"by {target}", *flags)
        assert cli("run", "kw.py", "--id", f"by {target}", "--json").events[-1]["result"] == result


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["amount=1", "amount=2"], "--input amount=... is given twice"),
        (["[1]", "amount=2"], "argument 'amount' of workflow 'order' is given by position and by keyword"),
        (['{"amount": 1, "amount": 2}'], "--input has the key 'amount' twice in one object"),
        (["[1, 2]"], "takes 1 arguments, got 2"),
        (["amount=true"], "expected --input amount to be of type integer, got true"),
        (['{"amount": true}'], "expected --input amount to be of type integer, got true"),
        (["[true]"], "expected --input amount to be of type integer, got true"),
    ],
)
def test_input_that_says_two_things_is_refused(cli: Cli, given: list[str], why: str) -> None:
    ran = cli("run", "app.py:order", *[word for text in given for word in ("-i", text)])
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err


def test_pair_replaces_a_value_of_an_object() -> None:
    assert parse_input(['{"n": 5, "m": 1}', "n=6"]) == ([], {"n": 6, "m": 1})
