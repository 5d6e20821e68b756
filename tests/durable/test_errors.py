"""Errors survive pickling, with their class, words and data."""

from __future__ import annotations

import inspect
import pickle

import pytest

from durable import errors
from durable.errors import DurableError

CLASSES = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, DurableError)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling(cls):
    error = cls("it went wrong", event=7, known=["a"])
    error.note = "of my own"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.data) == (cls, str(error), error.data)
    assert again.note == "of my own"
    assert str(again).startswith(f"[{cls.code}] ")
