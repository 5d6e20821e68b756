"""Tokens that name a step to other systems (``CompleteLater``)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from durable.errors import CallerError


def step_token(run_id: str, command: int) -> str:
    """The token of a step: URL-safe text. It is a name, not a secret."""
    return urlsafe_b64encode(f"{run_id}:{command}".encode()).decode().rstrip("=")


def parse_token(token: str) -> tuple[str, int]:
    """Run id and command number of a token.

    Raises:
        CallerError: it is no token of a step.
    """
    try:
        run_id, _, command = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().rpartition(":")
        if run_id:
            return run_id, int(command)
    except ValueError:
        pass
    raise CallerError(f"expected the token of a step (step_info().token), got {token!r}")
