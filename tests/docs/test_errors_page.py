"""Every error code has its line in docs/errors.md."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def load_generator():
    spec = importlib.util.spec_from_file_location("generate_errors", DOCS / "generate_errors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_errors_page_is_current():
    assert (DOCS / "errors.md").read_text() == load_generator().render(), "run: python docs/generate_errors.py"


def test_error_codes_are_unique():
    from durable import errors

    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and "code" in vars(cls)]
    assert len({cls.code for cls in classes}) == len(classes)
