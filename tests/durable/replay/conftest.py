"""What the tests of replay leave behind is taken away."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_shop() -> Iterator[None]:
    """Forget the module that versions of code stand in for."""
    yield
    sys.modules.pop("shop", None)
