"""Encryption, from the side of those who send: nobody writes plain text beside what the workers keep encrypted.

Workers publish with their workflows which of their codecs encrypt, by name; keys stay where they are. Who has a codec that
encrypts is not asked: whether it has the right key, its reader finds out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.errors import ConfigurationError

if TYPE_CHECKING:
    from runtime.client.client import Client


async def check_encryption(client: Client, workflow: str) -> None:
    """Refuse to send a value to a workflow whose workers encrypt, from a client that does not.

    Raises:
        ConfigurationError: saying what to give.
    """
    if client.envelope.encrypts or not await encryption(client, workflow):
        return
    client.forget_published(workflow)  # a worker that does not encrypt may have published anew
    codecs = await encryption(client, workflow)
    if codecs:
        raise ConfigurationError(
            f"the workers of workflow {workflow!r} encrypt its values ({', '.join(codecs)}), and this client would write plain text: "
            "give it their codecs, as codecs=[...], on the command line as --codecs MODULE:NAME",
            workflow=workflow,
        )


async def encryption(client: Client, workflow: str) -> list[str]:
    """The names of the codecs with which the workers of a workflow encrypt, as they published them."""
    return list((await client.published(workflow)).get("encryption", ()))


async def is_encrypted(client: Client, run_id: str) -> bool:
    """Whether the workers of a run's workflow encrypt."""
    row = await client.store.get_run_by_id(run_id)
    return row is not None and bool(await encryption(client, row.workflow))
