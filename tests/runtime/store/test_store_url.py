"""From a URL, or from nothing, to a store."""

from pathlib import Path

import pytest

from durable.errors import ConfigurationError
from runtime.store import open_store
from runtime.store.location import find_store
from runtime.store.memory import MemoryStore
from runtime.store.sqlite import SqliteStore


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/app.db", "/var/lib/app.db"),
        ("sqlite:////var/a b/100%25.db", "/var/a b/100%.db"),
        ("sqlite:////var/what?.db", "/var/what?.db"),
    ],
)
def test_absolute_path(url, path):
    store = open_store(url)
    assert isinstance(store, SqliteStore)
    assert store.path == Path(path)


def test_relative_path_is_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("sqlite:///sub/app.db").path == tmp_path / "sub" / "app.db"


@pytest.mark.parametrize("name", ["app.db", "100%.db", "100%25.db", "a b?#.db", "ä.db"])
def test_url_of_a_store_opens_it_again(name, tmp_path):
    store = SqliteStore(tmp_path / name)
    assert open_store(store.url).path == store.path


def test_path_stays_the_same_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("app.db")
    monkeypatch.chdir("/")
    assert store.path == tmp_path / "app.db"


def test_memory():
    assert isinstance(open_store("memory://"), MemoryStore)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("app.db", r"did you mean sqlite:///app\.db\?"),
        ("", "expected the store's URL to be"),
        ("sqlite://app.db", r"did you mean sqlite:///app\.db\?"),
        ("sqlite:///", "expected a path"),
        ("sqlite://", "expected a path"),
        ("memory://x", "without anything behind it"),
        ("postgresql://localhost/app", "not available yet"),
        ("sqlit:///app.db", r"did you mean sqlite://\?"),
        ("mysql://localhost", "unknown kind of store 'mysql'"),
    ],
)
def test_url_that_is_not_understood_says_what_is(url, hint):
    with pytest.raises(ConfigurationError, match=hint):
        open_store(url)


def test_without_a_url_the_nearest_store_upwards_is_found(tmp_path, monkeypatch):
    (tmp_path / ".durable").mkdir()
    (tmp_path / ".durable" / "durable.db").touch()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert open_store().path == tmp_path / ".durable" / "durable.db"
    assert open_store(None).path == tmp_path / ".durable" / "durable.db"


def test_nearer_store_comes_first(tmp_path):
    for folder in (tmp_path, tmp_path / "a"):
        (folder / ".durable").mkdir(parents=True)
        (folder / ".durable" / "durable.db").touch()
    assert find_store(tmp_path / "a" / "b") == tmp_path / "a" / ".durable" / "durable.db"


def test_without_any_store_one_in_the_working_directory_is_meant(tmp_path):
    assert find_store(tmp_path) == tmp_path / ".durable" / "durable.db"
