"""Recorded exceptions as people want to see them: the user's own line first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from durable.codec import rebuild_exception, record_exception
from durable.timeline.fault import Fault, read_fault


def recorded(error: BaseException) -> Fault:
    return read_fault(record_exception(error))


def raised(fail: object) -> Exception:
    try:
        fail()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError


def load_nonsense() -> None:
    json.loads("{")


def test_frame_of_the_user_comes_before_that_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    fault = recorded(raised(load_nonsense))
    assert fault.type == "json.decoder.JSONDecodeError"
    assert fault.where is not None
    assert fault.where.startswith(f"{Path(__file__).name}:")
    assert fault.where.endswith("in load_nonsense")
    assert not fault.frames[0].is_user
    user = next(frame for frame in fault.frames if frame.is_user)
    assert user.code == 'json.loads("{")'


def test_where_a_step_failed_comes_before_where_the_workflow_awaited_it() -> None:
    first = raised(load_nonsense)
    again = rebuild_exception(record_exception(first))

    def workflow() -> None:
        raise again

    fault = recorded(raised(workflow))
    assert fault.where is not None
    assert fault.where.endswith("in load_nonsense")
    assert [frame.function for frame in fault.frames if frame.is_user][-2:] == ["workflow", "raised"]
    assert fault.notes == []


def test_causes_and_leaves_are_kept() -> None:
    def fail() -> None:
        try:
            load_nonsense()
        except ValueError as error:
            raise ExceptionGroup("two", [KeyError("a"), TypeError("b")]) from error

    fault = recorded(raised(fail))
    assert [str(leaf) for leaf in fault.leaves] == ["KeyError: 'a'", "TypeError: b"]
    assert fault.cause is not None
    assert fault.cause.type.endswith("JSONDecodeError")


def test_notes_of_the_user_are_kept() -> None:
    error = ValueError("no")
    error.add_note("look at the manual")
    assert recorded(error).notes == ["look at the manual"]


@pytest.mark.parametrize(("error", "text"), [(ValueError(), "ValueError"), (ValueError("no"), "ValueError: no")])
def test_text_is_class_and_message(error: Exception, text: str) -> None:
    fault = recorded(error)
    assert str(fault) == text
    assert fault.where is None


def test_record_of_another_version_is_read_as_far_as_it_goes() -> None:
    assert str(read_fault({"message": "no"})) == "Exception: no"
