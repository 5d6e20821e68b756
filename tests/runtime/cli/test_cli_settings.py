"""Configuration: pyproject.toml, then variables, then flags."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cli.command import Cli
from durable.errors import ConfigurationError
from runtime import Client, Runtime, Worker
from runtime.cli.app import build_app
from runtime.settings import SETTINGS, find_settings


def configure(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.durable]\n{text}\n")


def store_of(cli: Cli, *args: str) -> str:
    return str(cli("list", "--json", *args).data["store"])


def test_flag_wins_over_variable_over_file_over_default(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store_of(cli) == f"sqlite:///{folder}/.durable/durable.db"
    configure(folder, 'store = "sqlite:///file.db"')
    assert store_of(cli) == f"sqlite:///{folder}/file.db"
    monkeypatch.setenv("DURABLE_STORE", "sqlite:///variable.db")
    assert store_of(cli) == f"sqlite:///{folder}/variable.db"
    assert store_of(cli, "--store", "sqlite:///flag.db") == f"sqlite:///{folder}/flag.db"


def test_settings_are_the_nearest_parents_and_paths_count_from_there(folder: Path) -> None:
    configure(folder, 'store = "sqlite:///data/app.db"\ntargets = ["app.py:deploy", "shop.workflows"]')
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text("[project]\nname = 'inner'\n")
    assert find_settings(inner) == {
        "store": f"sqlite:///{folder}/data/app.db",
        "targets": [f"{folder}/app.py:deploy", "shop.workflows"],
    }


def test_absolute_urls_stay_as_they_are(folder: Path) -> None:
    configure(folder, 'store = "sqlite:////var/app.db"')
    assert find_settings(folder) == {"store": "sqlite:////var/app.db"}
    configure(folder, 'store = "memory://"')
    assert find_settings(folder) == {"store": "memory://"}


def test_every_setting_reaches_its_parameter(folder: Path) -> None:
    configure(folder, 'actor = "ci"\nqueues = ["a"]\nmax_concurrent_steps = 4\ngrace = "5s"\nlog_format = "json"')
    assert find_settings(folder) == {
        "by": "ci",
        "queue": ["a"],
        "max_concurrent_steps": 4,
        "grace": "5s",
        "log_format": "json",
    }


def test_variables_of_settings_are_those_of_the_flags() -> None:
    group = typer.main.get_command(build_app())
    variables: dict[str, set[str]] = {}
    for command in group.commands.values():  # type: ignore[attr-defined]
        for parameter in command.params:
            if parameter.envvar:
                variables.setdefault(parameter.name, set()).add(parameter.envvar)
    assert variables == {setting.parameter: {setting.variable} for setting in SETTINGS.values()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('stor = "x"', "did you mean 'store'"),
        ("store = 3", "to be a text, got 3"),
        ("max_concurrent_steps = true", "to be a whole number, got True"),
        ('queues = "default"', "to be a list of texts"),
        ("queues = [1]", "to be a list of texts"),
        ("store = ", "is not TOML"),
    ],
)
def test_wrong_settings_are_refused_with_the_file(folder: Path, text: str, words: str) -> None:
    configure(folder, text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        find_settings(folder)
    assert str(folder / "pyproject.toml") in caught.value.message


def test_table_must_be_a_table(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool]\ndurable = 3\n")
    with pytest.raises(ConfigurationError, match="to be a table"):
        find_settings(folder)


def test_wrong_settings_end_the_command_but_not_its_help(cli: Cli, folder: Path) -> None:
    configure(folder, "nonsense = 1")
    ran = cli("list")
    assert ran.code == 2
    assert "nonsense" in ran.err
    assert cli("list", "--help").code == 0


def test_principal_comes_from_the_settings(cli: Cli, app: Path, folder: Path) -> None:
    configure(folder, 'actor = "ci"')
    cli("start", "app.py:hello", "--id", "h1")
    assert cli("show", "h1", "--json").data["run"]["actor"] == "user:ci"


def test_codecs_of_the_settings_encrypt_what_is_stored(cli: Cli, app: Path, folder: Path) -> None:
    (folder / "keys.py").write_text("from durable.codec import AesGcmCodec\ncodecs = [AesGcmCodec(bytes(32))]\n")
    configure(folder, 'codecs = "keys:codecs"')
    assert cli("run", "app.py:hello", "-i", "name=Ada", "--id", "h1").out.splitlines()[-1] == "Hello, Ada!"
    assert "Ada" not in cli("show", "h1").out
    assert "Ada" in cli("show", "h1", "--reveal").out
    assert "Ada" not in cli("history", "h1").out
    assert "Ada" in cli("history", "h1", "--reveal").out


@pytest.mark.parametrize("reference", ["app", "app:nothing", "app:hello", "no_such_module:codecs"])
def test_codecs_that_are_none_are_refused(cli: Cli, app: Path, reference: str) -> None:
    assert cli("run", "app.py:hello", "--codecs", reference).code == 2


@pytest.mark.parametrize("setting", [None, 'store = "sqlite:///project.db"'])
@pytest.mark.parametrize("variable", [None, "sqlite:///environment.db"])
def test_client_without_a_url_uses_the_store_of_the_command_line(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None, variable: str | None
) -> None:
    if setting is not None:
        configure(folder, setting)
    if variable is not None:
        monkeypatch.setenv("DURABLE_STORE", variable)
    (folder / "deeper").mkdir()
    monkeypatch.chdir(folder / "deeper")
    expected = cli("version", "--json").data["store"]
    assert {Client().store.url, Runtime().store.url, Worker().store.url} == {expected}
    name = "environment.db" if variable else "project.db" if setting else "durable.db"
    assert expected.endswith(f"/{name}")


def test_client_tells_of_wrong_settings(folder: Path) -> None:
    configure(folder, "stroe = 'sqlite:///project.db'")
    with pytest.raises(ConfigurationError, match=r"unknown setting 'stroe'.*did you mean 'store'"):
        Client()
    assert Client("memory://").store.url == "memory://"


def test_values_that_cannot_be_revealed_say_why(cli: Cli, app: Path, folder: Path) -> None:
    (folder / "keys.py").write_text(
        "from durable.codec import AesGcmCodec\ncodecs = [AesGcmCodec(bytes(32))]\nwrong = [AesGcmCodec(bytes([1] * 32))]\n"
    )
    cli("run", "app.py:hello", "-i", "name=Ada", "--id", "h1", "--codecs", "keys:codecs")
    for command in (["show", "h1"], ["history", "h1"], ["history", "h1", "--json"], ["show", "h1", "--json"]):
        assert cli(*command).err == ""
        assert "not revealed: a payload needs the codec 'aes-gcm'" in cli(*command, "--reveal").err
        ran = cli(*command, "--reveal", "--codecs", "keys:wrong")
        assert (ran.code, ran.err.count("\n")) == (0, 1)
        assert "not revealed: a payload cannot be decrypted with key" in ran.err
        assert cli(*command, "--reveal", "--codecs", "keys:codecs").err == ""


def test_wrong_log_level_of_the_file_is_not_blamed_on_the_flag_alone(cli: Cli, app: Path, folder: Path) -> None:
    configure(folder, 'log_level = "loud"')
    ran = cli("run", "app.py:hello")
    assert ran.code == 2
    assert "(--log-level, DURABLE_LOG_LEVEL, or log_level in [tool.durable])" in ran.err
