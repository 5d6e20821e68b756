"""Exceptions come back as their class where they were recorded as rebuilding, else as StepError (rule H3)."""

import asyncio
import json
import sys
import threading
from types import ModuleType
from typing import Any, Self

import pytest

import durable.errors
from durable.codec import Secret, rebuild_exception, record_exception
from durable.codec.failure import MAX_FRAMED_LEAVES, import_name
from durable.errors import (
    DurableError,
    HistoryCorruptedError,
    MissingCodeError,
    RunFailedError,
    StepError,
    StepTimeoutError,
)


class CardDeclined(Exception):
    def __init__(self, message: str, *, limit: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit


class TwoParts(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")


class Reduced(TwoParts):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(left, right)
        self.parts = [left, right]

    def __reduce__(self) -> Any:
        return type(self), tuple(self.parts)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError


class Shop:
    class Closed(Exception):
        pass


class OwnGroup(ExceptionGroup[Exception]):
    pass


class LabelledGroup(ExceptionGroup[Exception]):
    def __new__(cls, label: str, message: str, leaves: list[Exception]) -> Self:
        return super().__new__(cls, message, leaves)

    def __init__(self, label: str, message: str, leaves: list[Exception]) -> None:
        self.label = label


class OwnStepError(StepError):
    def __init__(self, unit: str) -> None:
        super().__init__(f"broken: {unit}", step="repair", attempts=2)
        self.unit = unit


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def there_and_back(error: BaseException) -> Exception:
    return rebuild_exception(record_exception(raised(error)))


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 3, None, {"a": [1.5]}),
        ValueError(),
        KeyError("missing"),
        FileNotFoundError(2, "gone", "/etc/x"),
        TimeoutError("late"),
        CardDeclined("declined"),
        Shop.Closed("at noon"),
        Mute("x"),
        Unpicklable("x"),
        Reduced(1, 2),
        StepError("failed", step="charge", error_type="app.Broken", attempts=3, code="x"),
        OwnStepError("pump"),
    ],
)
def test_exception_comes_back_as_its_class_with_its_attributes(error: Exception) -> None:
    rebuilt = there_and_back(error)
    assert type(rebuilt) is type(error)
    assert rebuilt.args == error.args
    known = {name: value for name, value in vars(rebuilt).items() if name != "__notes__"}
    assert known == vars(error)


def test_os_error_keeps_its_file() -> None:
    rebuilt = there_and_back(FileNotFoundError(2, "gone", "/etc/x"))
    assert isinstance(rebuilt, FileNotFoundError)
    assert (rebuilt.errno, rebuilt.filename) == (2, "/etc/x")


def test_json_decode_error_comes_back_by_its_own_pickling() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    rebuilt = rebuild_exception(record_exception(caught.value))
    assert type(rebuilt) is json.JSONDecodeError
    assert rebuilt.pos == 1


@pytest.mark.parametrize(
    "cls",
    [cls for cls in vars(durable.errors).values() if isinstance(cls, type) and issubclass(cls, DurableError)],
)
def test_error_of_this_project_comes_back_with_its_attributes(cls: type[DurableError]) -> None:
    error = cls("it broke", reason=["a", 1])
    rebuilt = there_and_back(error)
    assert type(rebuilt) is cls
    assert str(rebuilt) == str(error)
    assert {name: value for name, value in vars(rebuilt).items() if name != "__notes__"} == vars(error)


def test_attribute_that_is_set_after_construction_comes_back() -> None:
    rebuilt = there_and_back(CardDeclined("declined", limit=10))
    assert isinstance(rebuilt, CardDeclined)
    assert rebuilt.limit == 10


def test_attribute_that_json_cannot_hold_is_named_in_a_note() -> None:
    error = CardDeclined("declined", limit=10)
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    rebuilt = there_and_back(error)
    assert isinstance(rebuilt, CardDeclined)
    assert rebuilt.limit == 10
    assert "not recorded, because JSON cannot hold them: lock" in notes(rebuilt)


def test_error_of_this_project_keeps_its_message_when_its_data_cannot_be_recorded() -> None:
    rebuilt = there_and_back(StepError("failed", socket=threading.Lock()))
    assert isinstance(rebuilt, StepError)
    assert (rebuilt.message, rebuilt.data, rebuilt.attempts) == ("failed", {}, 1)


def local_class() -> Exception:
    class Local(Exception):
        pass

    return Local("x")


@pytest.mark.parametrize(
    ("error", "message", "error_type"),
    [
        (TwoParts(1, 2), "1 and 2", f"{__name__}.TwoParts"),
        (ValueError((1, 2)), "(1, 2)", "builtins.ValueError"),
        (ValueError(object), "<class 'object'>", "builtins.ValueError"),
        (ValueError("\ud800"), "\\ud800", "builtins.ValueError"),
        (ValueError(Secret("hunter2")), "Secret(***)", "builtins.ValueError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "'utf-8' codec", "builtins.UnicodeDecodeError"),
        (StopIteration(3), "3", "builtins.StopIteration"),
        (StopAsyncIteration(), "", "builtins.StopAsyncIteration"),
        (asyncio.CancelledError("enough"), "enough", "asyncio.exceptions.CancelledError"),
        (KeyboardInterrupt(), "", "builtins.KeyboardInterrupt"),
        (SystemExit(3), "3", "builtins.SystemExit"),
        (BaseExceptionGroup("two", [KeyboardInterrupt()]), "two", "builtins.BaseExceptionGroup"),
        (LabelledGroup("l", "two", [ValueError()]), "two", f"{__name__}.LabelledGroup"),
        (local_class(), "x", f"{__name__}.local_class.<locals>.Local"),
    ],
)  # fmt: skip
def test_exception_that_does_not_rebuild_becomes_a_step_error(
    error: BaseException, message: str, error_type: str
) -> None:
    assert json.loads(record_exception(error))["rebuilds"] is False
    rebuilt = there_and_back(error)
    assert type(rebuilt) is StepError
    assert rebuilt.message.startswith(message)
    assert rebuilt.error_type == error_type


def test_class_that_cannot_be_found_again_does_not_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    error = CardDeclined("declined")
    monkeypatch.setattr(sys.modules[__name__], "CardDeclined", Exception)
    assert json.loads(record_exception(error))["rebuilds"] is False


def test_unprintable_exception_is_recorded_all_the_same() -> None:
    record = json.loads(record_exception(Mute(object())))
    assert record["message"] == "<Mute, whose __str__ raised RuntimeError>"


def test_cause_comes_back() -> None:
    try:
        try:
            raise KeyError("a")
        except KeyError as error:
            raise CardDeclined("declined") from error
    except CardDeclined as error:
        rebuilt = rebuild_exception(record_exception(error))
    assert isinstance(rebuilt.__cause__, KeyError)


def test_context_comes_back_as_cause_unless_it_is_suppressed() -> None:
    for suppress in (True, False):
        error = ValueError("outer")
        error.__context__ = KeyError("inner")
        error.__suppress_context__ = suppress
        rebuilt = rebuild_exception(record_exception(error))
        assert isinstance(rebuilt.__cause__, KeyError) is not suppress


def test_chain_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    rebuilt = rebuild_exception(record_exception(first))
    assert str(rebuilt.__cause__) == "second"
    assert rebuilt.__cause__ is not None
    assert rebuilt.__cause__.__cause__ is None
    last = ValueError(0)
    for number in range(1, 50):
        error = ValueError(number)
        error.__cause__ = last
        last = error
    assert len(record_exception(last)) < 5000


def test_group_comes_back_with_every_leaf() -> None:
    group = ExceptionGroup("many", [ValueError(1), TwoParts(1, 2), ExceptionGroup("inner", [KeyError("a")])])
    rebuilt = there_and_back(group)
    assert type(rebuilt) is ExceptionGroup
    assert rebuilt.message == "many"
    assert [type(leaf) for leaf in rebuilt.exceptions] == [ValueError, StepError, ExceptionGroup]
    assert isinstance(rebuilt.exceptions[2], ExceptionGroup)
    assert isinstance(rebuilt.exceptions[2].exceptions[0], KeyError)


def test_group_of_an_own_class_comes_back() -> None:
    assert type(there_and_back(OwnGroup("own", [ValueError()]))) is OwnGroup


def test_leaves_of_a_large_group_are_all_recorded_but_not_all_their_frames() -> None:
    leaves = [raised(ValueError(number)) for number in range(MAX_FRAMED_LEAVES + 5)]
    record = json.loads(record_exception(ExceptionGroup("many", leaves)))  # type: ignore[type-var]
    assert len(record["leaves"]) == len(leaves)
    assert [bool(leaf["traceback"]) for leaf in record["leaves"]].count(True) == MAX_FRAMED_LEAVES


def test_traceback_travels_as_a_note_and_leaves_out_the_machinery() -> None:
    machinery = ModuleType("asyncio.machinery")
    exec("def call(fn):\n    fn()", machinery.__dict__)

    def charge() -> None:
        raise CardDeclined("declined")

    with pytest.raises(CardDeclined) as caught:
        machinery.call(charge)
    (note,) = notes(rebuild_exception(record_exception(caught.value)))
    assert note.startswith("Traceback where it was raised (most recent call last):\n")
    assert "in charge" in note
    assert "in call" not in note


def test_traceback_of_machinery_alone_is_kept() -> None:
    machinery = ModuleType("anyio.machinery")
    exec("def call():\n    raise ValueError", machinery.__dict__)
    with pytest.raises(ValueError) as caught:
        machinery.call()
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # type: ignore[union-attr]
    assert "in call" in json.loads(record_exception(caught.value))["traceback"]


def test_record_is_bounded() -> None:
    def fall(depth: int) -> None:
        if depth == 0:
            raise ValueError(object())
        fall(depth - 1)

    with pytest.raises(ValueError) as caught:
        fall(200)
    assert json.loads(record_exception(caught.value))["traceback"].count("in fall") <= 40
    long = json.loads(record_exception(TwoParts("x" * 100_000, 1)))  # type: ignore[arg-type]
    assert len(long["message"]) < 10_000
    assert "characters left out" in long["message"]


def test_notes_come_back() -> None:
    error = ValueError("bad")
    error.add_note("while reading row 7")
    assert notes(there_and_back(error))[0] == "while reading row 7"


def test_exception_can_be_recorded_again() -> None:
    first = there_and_back(CardDeclined("declined", limit=3))
    again = rebuild_exception(record_exception(first))
    assert isinstance(again, CardDeclined)
    assert again.limit == 3
    assert notes(again) == notes(first)


# -- names of modules -------------------------------------------------------------------------------------


def make_module(name: str, **attributes: Any) -> ModuleType:
    module = ModuleType(name)
    for attribute, value in attributes.items():
        setattr(module, attribute, value)
    return module


def make_class(module: str) -> type[Exception]:
    return type("Broken", (Exception,), {"__module__": module, "__qualname__": "Broken"})


def test_script_is_recorded_under_the_name_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = make_class("__main__")
    script = make_module("__main__", Broken=cls, __file__="/somewhere/shop_app.py", __spec__=None)
    monkeypatch.setitem(sys.modules, "__main__", script)
    record = record_exception(cls("x"))
    assert json.loads(record)["type"] == ["shop_app", "Broken"]
    # the script itself finds it without being imported a second time, also when it is registered
    assert type(rebuild_exception(record)) is cls
    assert type(rebuild_exception(record, modules=[script])) is cls


def test_script_and_worker_agree_on_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = make_class("__main__")
    script = make_module("__main__", Broken=cls, __file__="/somewhere/shop_app.py", __spec__=None)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "__main__", script)
        record = record_exception(cls("x"))
    for name in ("shop_app", "company.shop_app"):
        theirs = make_class(name)
        worker = make_module(name, Broken=theirs)
        assert type(rebuild_exception(record, modules=[worker])) is theirs


@pytest.mark.parametrize(
    ("spec", "file", "name"),
    [
        ("shop.app", "/x/shop/app.py", "shop.app"),
        ("shop.__main__", "/x/shop/__main__.py", "shop"),
        (None, "/x/app.py", "app"),
        (None, None, "__main__"),
    ],
)
def test_main_module_goes_by_its_import_name(
    monkeypatch: pytest.MonkeyPatch, spec: str | None, file: str | None, name: str
) -> None:
    main = make_module("__main__", __file__=file, __spec__=make_module("spec") if spec else None)
    if main.__spec__ is not None:
        main.__spec__.name = spec  # type: ignore[misc, assignment]
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert import_name("__main__") == name
    assert import_name("other") == "other"


def test_names_of_modules_can_be_given() -> None:
    record = record_exception(ValueError("x"), names=lambda module: f"renamed.{module}")
    assert json.loads(record)["type"] == ["renamed.builtins", "ValueError"]


# -- missing code -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "qualname", "words"),
    [
        ("no_such_module_anywhere", "Broken", "its module cannot be imported"),
        ("json", "Broken", "its module does not have it"),
        ("json", "JSONDecoder", "its module does not have it"),
        ("json.decoder", "JSONDecodeError", "its constructor refuses the recorded arguments"),
    ],
)
def test_class_that_was_rebuilt_and_is_missing_now_is_missing_code(module: str, qualname: str, words: str) -> None:
    record = {**json.loads(record_exception(ValueError("x"))), "type": [module, qualname]}
    assert record["rebuilds"] is True
    with pytest.raises(MissingCodeError, match=words) as caught:
        rebuild_exception(record)
    assert caught.value.data == {"module": module, "qualname": qualname}


def test_record_is_followed_even_where_the_class_could_be_had() -> None:
    record = {**json.loads(record_exception(ValueError("x"))), "rebuilds": False}
    assert type(rebuild_exception(record)) is StepError


@pytest.mark.parametrize("record", ["nonsense", "{}", "[]", '{"type":3}'])
def test_what_is_no_record_is_corruption(record: str) -> None:
    with pytest.raises(HistoryCorruptedError, match="record of an exception"):
        rebuild_exception(record)


def test_timeout_of_a_step_is_still_a_timeout() -> None:
    rebuilt = there_and_back(StepTimeoutError("late", step="charge"))
    assert isinstance(rebuilt, TimeoutError)
    assert isinstance(there_and_back(RunFailedError("x", workflow_id="w", run_id="r")), RunFailedError)


def test_error_that_cannot_be_rebuilt_names_its_step_and_its_class() -> None:
    class Local(Exception):
        pass

    error = rebuild_exception(record_exception(Local("too small")), step="charge")
    assert isinstance(error, StepError)
    assert error.step == "charge"
    assert "step 'charge' raised test_error_that" in error.message
    assert error.message.endswith("Local: too small")
