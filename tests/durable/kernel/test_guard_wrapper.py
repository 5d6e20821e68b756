"""Wrappers and the profile function, which do the work of ``sys.monitoring`` on Python 3.11."""

import os
import pickle
import random
import sys
import threading
import time
import types
from datetime import datetime

import pytest

from durable.kernel.callee import ABSENT, UNKNOWN, Callees
from durable.kernel.wrapper import Wrapper, make_profile

CALLEES = Callees()


class Stop(BaseException):
    pass


class Judge:
    """Takes note of every question, and stops the call if told so."""

    def __init__(self, stops=False):
        self.questions = []
        self.stops = stops

    def __call__(self, called, first, frame):
        self.questions.append((called, first, frame.f_code.co_name))
        if self.stops:
            raise Stop


def module_of(source, **names):
    """The namespace of a workflow module with its imports wrapped, and the judge that it asks."""
    namespace = dict(names)
    exec(source, namespace)
    judge = Judge()
    codes = {id(value.__code__) for value in namespace.values() if isinstance(value, types.FunctionType)}
    Wrapper(CALLEES, codes, judge).wrap([namespace])
    return namespace, judge


def test_wrapper_asks_about_calls_through_a_module():
    namespace, judge = module_of("def deploy(): return time.gmtime(0)", time=time)
    assert namespace["deploy"]() == time.gmtime(0)
    assert judge.questions == [(time.gmtime, 0, "deploy")]


def test_wrapper_asks_about_calls_of_imported_functions():
    namespace, judge = module_of("def deploy(): return now(), pick([1])", now=time.time, pick=random.choice)
    namespace["deploy"]()
    assert judge.questions == [(time.time, ABSENT, "deploy"), (random.choice, [1], "deploy")]


def test_wrapper_stops_a_call_before_it_is_made():
    calls = []
    judge = Judge(stops=True)
    namespace = {"sleep": time.sleep}
    exec("def deploy(): sleep(60); calls.append(1)", {}, namespace)
    deploy = types.FunctionType(namespace["deploy"].__code__, scope := {"sleep": time.sleep, "calls": calls})
    Wrapper(CALLEES, {id(deploy.__code__)}, judge).wrap([scope])
    with pytest.raises(Stop):
        deploy()
    assert not calls


def test_wrapper_does_not_ask_about_other_code():
    namespace, judge = module_of("def deploy(): pass", time=time)
    assert namespace["time"].time() > 0
    assert not judge.questions


def test_wrapper_leaves_types_and_harmless_names_alone():
    names = {"datetime": datetime, "Random": random.Random, "sys": sys, "dumps": pickle.dumps, "number": 7}
    namespace, _ = module_of("", **names)
    assert {name: namespace[name] for name in names} == names


def test_guarded_module_is_the_module_in_every_other_respect(monkeypatch):
    namespace, _ = module_of("", os=os)
    guarded = namespace["os"]
    assert isinstance(guarded, types.ModuleType)
    assert guarded.path is os.path
    assert guarded.__name__ == "os"
    assert guarded.__file__ == os.__file__
    assert dir(guarded) == dir(os)
    guarded.shop = 1
    assert os.shop == 1
    del guarded.shop
    assert not hasattr(os, "shop")


def test_guarded_module_hands_out_what_a_test_has_replaced(monkeypatch):
    namespace, judge = module_of("def deploy(): return time.time()", time=time)
    monkeypatch.setattr(time, "time", lambda: 42)
    assert namespace["deploy"]() == 42
    assert not judge.questions


def test_guarded_module_is_not_put_in_place_of_a_replaced_module(monkeypatch):
    fake = types.ModuleType("time")
    namespace, _ = module_of("", time=fake)
    assert namespace["time"] is fake


def test_guarded_call_is_the_function_in_every_other_respect():
    namespace, _ = module_of("", urandom=os.urandom, choice=random.choice)
    assert namespace["urandom"].__name__ == "urandom"
    assert repr(namespace["urandom"]) == repr(os.urandom)
    assert pickle.loads(pickle.dumps(namespace["urandom"])) is os.urandom


def test_wrapping_again_changes_nothing():
    namespace, judge = module_of("def deploy(): return time.time(), now()", time=time, now=time.time)
    before = dict(namespace)
    Wrapper(CALLEES, set(), judge).wrap([namespace])
    assert namespace == before


def test_thread_start_is_announced(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", start := threading.Thread.start)
    judge = Judge()
    Wrapper(CALLEES, set(), judge).wrap_thread_start(judge)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert judge.questions == [(start, thread, "test_thread_start_is_announced")]


def profiled(function, *others):
    judge = Judge()
    codes = {id(code.__code__) for code in (function, *others)}
    sys.setprofile(make_profile(CALLEES, codes, judge))
    try:
        function()
    finally:
        sys.setprofile(None)
    return judge.questions


def test_profile_sees_methods_of_types():
    def deploy():
        return datetime.now()

    ((called, first, name),) = [q for q in profiled(deploy) if q[0] == datetime.now]
    assert (first, name) == (UNKNOWN, "deploy")
    assert called == datetime.now


def test_profile_sees_functions_in_python_and_their_first_argument():
    rng = random.Random(1)

    def deploy():
        return rng.choice([1])

    questions = profiled(deploy)
    assert (random.Random.choice, rng, "deploy") in questions


def test_profile_judges_what_it_is_told():
    """Tracers, and so the measurement of coverage, do not look into a profile function."""
    judge = Judge()
    frame = sys._getframe()
    profile = make_profile(CALLEES, {id(frame.f_code)}, judge)
    frames = []

    class Listener:
        def __len__(self):
            frames.append(sys._getframe(1))
            return 1

        def __getitem__(self, index):
            return "chosen"

    random.Random.choice(rng := random.Random(1), Listener())
    profile(frames[0], "call", None)
    profile(frame, "c_call", time.time)
    profile(frames[0], "c_call", time.time)
    profile(frame, "return", None)
    profile(frame, "call", None)
    me = "test_profile_judges_what_it_is_told"
    assert judge.questions == [(random.Random.choice, rng, me), (time.time, UNKNOWN, me)]


def test_profile_ignores_calls_of_other_code():
    def helper():
        return datetime.now()

    def deploy():
        return helper()

    assert datetime.now not in [called for called, _, _ in profiled(deploy)]
    assert datetime.now in [called for called, _, _ in profiled(deploy, helper)]
