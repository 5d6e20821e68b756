"""Globals that change, and what is computed when a module is imported."""

import pytest
from lint_case import assert_case

WRONG = {
    "list": """
        seen = []
        ---
        seen.append("a")  # !DURL402
    """,
    "dict": """
        cache = {}
        ---
        cache["a"] = 1  # !DURL402
        cache["b"] += 1  # !DURL402
        del cache["a"]  # !DURL402
    """,
    "nested": """
        state = {"a": {"b": []}}
        ---
        state["a"]["b"].append(1)  # !DURL402
    """,
    "global statement": """
        count = 0
        ---
        global count
        count += 1  # !DURL402
    """,
    "attribute of an object": """
        class Settings:
            debug = False
        settings = Settings()
        ---
        settings.debug = True  # !DURL402
    """,
    "attribute of a class": """
        class Counter:
            count = 0
        ---
        Counter.count += 1  # !DURL402
    """,
    "attribute of one's class": """
        class Counter:
            count = 0
            @classmethod
            def increase(cls):
                cls.count += 1  # !DURL402
        ---
        Counter.increase()
    """,
    "counter": """
        import itertools
        numbers = itertools.count()
        ---
        next(numbers)  # !DURL402
    """,
    "shared generator": """
        import random
        generator = random.Random(7)
        ---
        generator.random()  # !DURL402
    """,
    "in a helper": """
        seen = []
        def note(text):
            seen.append(text)  # !DURL402
        ---
        note("a")
    """,
    "read, and changed by a step": """
        prices = {}
        @step
        def load():
            prices["a"] = 1
        ---
        await ctx.step(load)
        return prices["a"]  # !DURL401
    """,
    "read, and bound anew by a function": """
        limit = 3
        def configure(value):
            global limit
            limit = value
        ---
        return limit  # !DURL401
    """,
    "read in a condition": """
        flags = set()
        def enable(flag):
            flags.add(flag)
        ---
        if "fast" in flags:  # !DURL401
            pass
    """,
    "read, and filled by the main program": """
        prices = {}
        def load():
            prices["a"] = 1
        @workflow
        async def price(ctx):
            return prices["a"]  # !DURL401
        if __name__ == "__main__":
            load()
    """,
    "read, and changed by a method": """
        prices = {}
        class Shop:
            def load(self):
                prices["a"] = 1
        ---
        return prices["a"]  # !DURL401
    """,
    "identifier made at import": """
        import uuid
        SESSION = uuid.uuid4()
        ---
        return SESSION  # !DURL403
    """,
    "time of import": """
        import time
        STARTED = int(time.time())
        ---
        return STARTED  # !DURL403
    """,
    "environment at import": """
        import os
        REGION = os.environ["REGION"]
        DEBUG = os.getenv("DEBUG", "") == "1"
        ---
        if DEBUG:  # !DURL403
            return REGION  # !DURL403
    """,
}

FINE = {
    "constant": """
        PRICES = {"a": 1}
        NAMES = ["a"]
        ---
        return PRICES["a"], NAMES[0], PRICES.get("b")
    """,
    "table that is filled at import": """
        SQUARES = {}
        for number in range(3):
            SQUARES[number] = number * number
        ---
        return SQUARES[2]
    """,
    "registry that decorators fill": """
        HANDLERS = {}
        def handler(fn):
            HANDLERS[fn.__name__] = fn
            return fn
        @handler
        def approve(): return 1
        ---
        return HANDLERS["approve"]()
    """,
    "registry that decorators with arguments fill": """
        HANDLERS = {}
        def handler(name):
            def declare(fn):
                HANDLERS[name] = fn
                return fn
            return declare
        @handler("yes")
        def approve(): return 1
        ---
        return HANDLERS["yes"]()
    """,
    "local list": """
        seen = []
        ---
        seen = []
        seen.append("a")
    """,
    "nonlocal": """
        ---
        count = 0
        def increase():
            nonlocal count
            count += 1
        increase()
    """,
    "parameter": """
        seen = []
        def note(seen, text):
            seen.append(text)
        ---
        note([], "a")
    """,
    "changed by a step, not read": """
        seen = []
        @step
        def note(text):
            seen.append(text)
        ---
        await ctx.step(note, "a")
    """,
    "object of the function": """
        class Cart:
            def __init__(self):
                self.items = []
            def add(self, item):
                self.items.append(item)
                self.last = item
        ---
        cart = Cart()
        cart.add("a")
        cart.items.append("b")
    """,
    "messages and logger": """
        import logging
        from durable import Signal
        log = logging.getLogger(__name__)
        pause = Signal("pause")
        ---
        log.info("a")
        await ctx.wait_signal(pause)
    """,
    "function that is mentioned": """
        def helper(): ...
        ---
        helper()
    """,
    "number of a fixed seed": """
        import random, time
        NUMBER = random.Random(7).random()
        EPOCH = time.gmtime(0)
        ---
        return NUMBER, EPOCH
    """,
    "global of the same name elsewhere": """
        total = 0
        def outside():
            total = 1
            return total
        ---
        return total
    """,
    "way out": """
        seen = []
        ---
        with ctx.unguarded():
            seen.append("a")
    """,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_shared_state_is_found(text):
    assert_case(text)


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_constants_and_locals_are_left_alone(text):
    assert_case(text)
