"""Whose code a file holds, and how a place in it is written."""

import os
import sys
from pathlib import Path

import anyio
import pytest

import durable
from durable.kernel.location import Owner, is_installed, owner_of, place_of

LIBRARY = os.path.dirname(os.__file__)
OWNERS = {
    __file__: Owner.USER,
    "<stdin>": Owner.USER,
    "/srv/shop/deploy.py": Owner.USER,
    os.path.join(LIBRARY, "random.py"): Owner.LIBRARY,
    os.path.join(LIBRARY, "asyncio", "tasks.py"): Owner.LIBRARY,
    os.path.join(LIBRARY, "logging", "handlers.py"): Owner.QUIET,
    os.path.join(LIBRARY, "linecache.py"): Owner.QUIET,
    "<frozen importlib._bootstrap_external>": Owner.QUIET,
    "<frozen zipimport>": Owner.QUIET,
    "<frozen os>": Owner.LIBRARY,
    anyio.__file__: Owner.LIBRARY,
    "/srv/.venv/lib/python3.12/site-packages/loguru/_file_sink.py": Owner.QUIET,
    "/usr/lib/python3/dist-packages/requests/api.py": Owner.LIBRARY,
    durable.__file__: Owner.MACHINE,
    str(Path(durable.__file__).parent / "kernel" / "loop.py"): Owner.MACHINE,
}


@pytest.mark.parametrize(("filename", "owner"), OWNERS.items(), ids=[Path(name).name for name in OWNERS])
def test_owner_of_a_file_is_told_by_its_name(filename, owner):
    assert owner_of(filename) is owner


def test_installed_files_are_those_of_packages_and_of_the_standard_library():
    assert is_installed(anyio.__file__)
    assert is_installed(os.__file__)
    assert is_installed(durable.__file__)
    assert not is_installed(__file__)


@pytest.mark.parametrize(
    ("filename", "module", "place"),
    [
        ("/srv/app/shop/deploy.py", "shop.deploy", "shop/deploy.py:1"),
        ("/srv/app/shop/__init__.py", "shop", "shop/__init__.py:1"),
        ("/srv/app/run.py", "__main__", "run.py:1"),
        ("<stdin>", "__main__", "<stdin>:1"),
        ("deploy.py", "a.b.c", "deploy.py:1"),
    ],
)
def test_place_goes_as_far_up_as_the_module_reaches(filename, module, place):
    namespace = {"__name__": module, "frame_of": sys._getframe}
    exec(compile("frame = frame_of()", filename, "exec"), namespace)
    assert place_of(namespace["frame"]) == place
