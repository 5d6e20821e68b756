"""Which calls are forbidden, whatever name the callable goes by."""

import random
import secrets
import threading
import time
import types
import uuid
from datetime import date, datetime

import pytest

from durable.kernel.callee import ABSENT, UNKNOWN, Callees
from durable.kernel.rules import RULES, Category, Rule, Sight

CALLEES = Callees()
ALIAS = datetime.now
GENERATOR = random._inst


@pytest.mark.parametrize(
    ("called", "first", "count", "call"),
    [
        (time.time, ABSENT, 0, "time.time"),
        (ALIAS, ABSENT, 0, "datetime.datetime.now"),
        (date.today, ABSENT, 0, "datetime.date.today"),
        (uuid.uuid4, ABSENT, 0, "uuid.uuid4"),
        (random.random, ABSENT, 0, "random.random"),
        (random.choice, [1], 1, "random.choice"),
        (random.Random.choice, GENERATOR, 2, "random.choice"),
        (random.Random.choice, random.SystemRandom(), 2, "random.choice"),
        (random.SystemRandom().choice, [1], 1, "random.choice"),
        (random.SystemRandom.random, random.SystemRandom(), 1, "random.SystemRandom"),
        (random.SystemRandom, ABSENT, 0, "random.SystemRandom"),
        (random.Random, ABSENT, 0, "random.Random"),
        (random.Random, None, 1, "random.Random"),
        (secrets.token_hex, 8, 1, "secrets.token_hex"),
        (secrets.randbits, 8, 1, "secrets.randbits"),
        (threading.Thread.start, threading.Thread(), 1, "threading.Thread.start"),
        (threading.Timer(1, print).start, ABSENT, 0, "threading.Thread.start"),
        (time.gmtime, ABSENT, 255, "time.gmtime"),
        (time.gmtime, None, 1, "time.gmtime"),
        (time.gmtime, UNKNOWN, 0, "time.gmtime"),
        (time.strftime, "%Y", 1, "time.strftime"),
    ],
)
def test_call_is_forbidden(called, first, count, call):
    assert CALLEES.judge(called, first, lambda: count).call == call


@pytest.mark.parametrize(
    ("called", "first", "count"),
    [
        (time.gmtime, 0, 1),
        (time.gmtime, UNKNOWN, 1),
        (time.strftime, "%Y", 2),
        (random.Random, 7, 1),
        (random.Random.choice, random.Random(7), 2),
        (random.Random(7).choice, [1], 1),
        (random.Random(7).random, ABSENT, 0),
        (datetime.fromisoformat, "2024-01-01", 1),
        (uuid.uuid5, uuid.NAMESPACE_DNS, 2),
        (len, "", 1),
        (dict, ABSENT, 0),
        ("not callable", ABSENT, 0),
        (types.MethodType(len, "text"), ABSENT, 0),
    ],
)
def test_call_is_free(called, first, count):
    assert CALLEES.judge(called, first, lambda: count) is None


def test_rules_for_other_versions_of_python_are_passed_over():
    rule = Rule("time", "no_such_clock", Category.CLOCK, "", "", Sight.CALL)
    assert Callees([*RULES, rule]).originals.keys() == CALLEES.originals.keys()
