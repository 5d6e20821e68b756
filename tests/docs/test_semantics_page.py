"""Every behaviour has a test, and tests/semantics.md says which."""

import importlib.util
from pathlib import Path

TESTS = Path(__file__).parents[1]


def load_generator():
    spec = importlib.util.spec_from_file_location("generate_semantics", TESTS / "generate_semantics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_behaviour_has_a_test():
    assert [number for number, tests in load_generator().find().items() if not tests] == []


def test_semantics_page_is_current():
    generator = load_generator()
    assert generator.PAGE.read_text() == generator.render(), "run: python tests/generate_semantics.py"
