"""From flags to a client on a store."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from durable.errors import ConfigurationError, RunNotFoundError
from runtime.cli.output import Output

if TYPE_CHECKING:
    from durable.codec import PayloadCodec
    from runtime.client.client import Client
    from runtime.client.handle import RunHandle
    from runtime.store.protocol import Store

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """What the shared flags of a command say.

    Attributes:
        store_url: ``--store``.
        codecs: ``--codecs``.
        as_json: ``--json``.
        by: ``--by``.
    """

    store_url: str | None = None
    codecs: str | None = None
    as_json: bool = False
    by: str | None = None

    @cached_property
    def output(self) -> Output:
        """Where words go."""
        return Output(as_json=self.as_json)

    @property
    def actor(self) -> str | None:
        """The principal of ``--by``."""
        from runtime.client.people import principal

        return None if self.by is None else principal(self.by)

    def command(self, *words: str, opens_values: bool = False, is_encrypted: bool = False) -> str:
        """A command to type next, with the flags that make it find the same store.

        Args:
            words: without ``durable``.
            opens_values: it reads or writes values, and so needs the same codecs.
            is_encrypted: the workers encrypt these values, so that codecs are needed though none were given here.
        """
        from runtime.settings import find_settings

        settings = find_settings()
        given = [("--store", self.store_url, "DURABLE_STORE", "store")]
        if opens_values:
            given.append(("--codecs", self.codecs, "DURABLE_CODECS", "codecs"))
        flags: list[str] = []
        for flag, value, variable, setting in given:
            if value is not None and value not in (os.environ.get(variable), settings.get(setting)):
                flags += [flag, value]
        if opens_values and is_encrypted and self.codecs is None:
            flags += ["--codecs", "MODULE:NAME"]
        return shlex.join(["durable", *words, *flags])

    def open_store(self, *, read_only: bool = False, for_looking: bool = False) -> Store:
        """The store, not yet connected.

        Args:
            read_only: what is opened writes nothing, not even to bring it to the current schema.
            for_looking: one that this user may not write will do.
        """
        from runtime.store.sqlite import SqliteStore
        from runtime.store.sqlite.readonly import ReadOnlySqliteStore, can_write
        from runtime.store.url import open_store

        store = open_store(self.store_url, read_only=read_only)
        if for_looking and isinstance(store, SqliteStore) and store.path.is_file() and not can_write(store.path):
            return ReadOnlySqliteStore(store.path)
        return store

    def load_codecs(self) -> Sequence[PayloadCodec]:
        """The payload codecs that ``--codecs`` names.

        Raises:
            ConfigurationError: there are none of that name.
        """
        if self.codecs is None:
            return ()
        from runtime.cli.target import load_attribute

        codecs = load_attribute(self.codecs, "--codecs")
        if not isinstance(codecs, Sequence) or not all(hasattr(codec, "encode") for codec in codecs):
            raise ConfigurationError(f"expected {self.codecs} to be a list of payload codecs, got {codecs!r}")
        return codecs

    def run(
        self,
        work: Callable[[Client], Awaitable[T]],
        *,
        creates: bool = False,
        read_only: bool = False,
        only_looks: bool = False,
    ) -> T | None:
        """Do the work of a command with a connected client.

        Args:
            work: gets the client.
            creates: make the store if there is none; otherwise nothing is done then, and None returned.
            read_only: nothing is written, not even to bring the store to the current schema.
            only_looks: the work writes nothing.
        """
        return asyncio.run(self._run(work, creates, read_only, only_looks))

    async def _run(
        self, work: Callable[[Client], Awaitable[T]], creates: bool, read_only: bool, only_looks: bool
    ) -> T | None:
        from runtime.client.client import Client

        codecs = self.load_codecs()
        store = self.open_store(read_only=read_only, for_looking=only_looks)
        if not creates and is_missing(store):
            return None
        try:
            async with Client(store, codecs=codecs, actor=self.actor) as client:
                return await work(client)
        finally:
            await store.close()

    def with_run(
        self,
        run_id: str,
        work: Callable[[Client, RunHandle[Any]], Awaitable[T]],
        *,
        read_only: bool = False,
        only_looks: bool = False,
    ) -> T:
        """Do the work of a command that is about one run.

        Args:
            only_looks: the work writes nothing.

        Raises:
            RunNotFoundError: saying which store was searched.
        """

        async def find(client: Client) -> tuple[T]:
            return (await work(client, await find_run(client, run_id)),)

        done = self.run(find, read_only=read_only, only_looks=only_looks)
        if done is None:
            url = self.open_store().url
            raise RunNotFoundError(f"no run {run_id!r}: there is no store at {url}", workflow_id=run_id)
        return done[0]

    async def note_if_unserved(self, client: Client, run: RunHandle[Any]) -> None:
        """Say what lets a run go on, if no worker is there that would."""
        from runtime.client.encryption import encryption
        from runtime.client.presence import is_served

        row = await run.row()
        if row.status.is_closed or self.as_json or await is_served(client, row.workflow):
            return
        hidden = bool(await encryption(client, row.workflow))
        worker = self.command("worker", "TARGET", opens_values=True, is_encrypted=hidden)
        here = self.command("run", "TARGET", "--id", row.workflow_id, opens_values=True, is_encrypted=hidden)
        self.output.note(
            f"no worker that has workflow {row.workflow!r} is running; it goes on with: {worker}, or {here}"
        )


def is_missing(store: Store) -> bool:
    """Whether the store is a file that nobody has made yet."""
    from runtime.store.sqlite import SqliteStore

    return isinstance(store, SqliteStore) and not store.path.exists()


async def find_run(client: Client, run_id: str) -> RunHandle[Any]:
    """The handle of a run by its workflow id, else by its run id.

    Raises:
        RunNotFoundError: saying which store was searched.
    """
    row = await client.store.get_run(run_id) if run_id else None
    if row is not None:
        return client.get(row.workflow_id)
    row = await client.store.get_run_by_id(run_id)
    if row is not None:
        return client.get(row.workflow_id, row.run_id)
    raise RunNotFoundError(f"no run {run_id!r} in {client.store.url}; see: durable list", workflow_id=run_id)
