"""What a kernel loop refuses, by name, and the words of each refusal (L1).

An event loop has two faces: it schedules coroutines, and it reaches outside, to threads, sockets, processes
and signals. Of the outside a history records only what steps and messages brought in, so in a workflow the
second face is closed, method by method. A refusal is raised where the call is made, not from a coroutine that
somebody has yet to await.
"""

from __future__ import annotations

import asyncio
from asyncio.events import _get_running_loop
from typing import Any, Final

from durable.errors import AuthorError, DeterminismError

STEP: Final = "move it into a step: await ctx.step(...)"
_MESSAGE: Final = "send the run a message: await handle.signal(...)"
_AWAIT: Final = "await the coroutine, or start it in a task group; the worker drives the loop"
_CREATE: Final = "start tasks with asyncio.create_task(...) or a task group"

EAGER_START: Final = ("create_task(eager_start=True)", "would let a task begin before its turn", _CREATE)


class ClosedOutside(asyncio.AbstractEventLoop):
    """The half of an event loop that reaches outside, each method of it refused.

    Attributes:
        violation: the first refusal, or hit of the guard, in this activation. It decides, even if user code
            swallows the exception (G1).
    """

    violation: BaseException | None

    def refuse(self, operation: str, reason: str, remedy: str = STEP) -> BaseException:
        """Note a violation and return the error to raise for it.

        Args:
            operation: what was called, as its caller would write it.
            reason: why it is refused, as the rest of a sentence that begins with the operation.
            remedy: what to do instead.
        """
        if _get_running_loop() is not self:
            # Some thread holds on to the loop. A BaseException would end its executor without a word.
            return AuthorError(
                f"{operation} was called from outside the workflow\n  remedy: {_MESSAGE}",
                operation=operation,
                remedy=_MESSAGE,
            )
        error = DeterminismError(
            f"workflow code called {operation}, which {reason}\n  remedy: {remedy}",
            operation=operation,
            remedy=remedy,
        )
        if self.violation is None:
            self.violation = error
        return error

    def get_debug(self) -> bool:
        """Return False: debug mode times callbacks by the wall clock."""
        return False

    def get_task_factory(self) -> None:
        """Return None: tasks are the kernel's own."""


def _refused(name: str, reason: str, remedy: str) -> Any:
    operation = f"loop.{name}()"

    def method(self: ClosedOutside, *args: object, **kwargs: object) -> Any:  # noqa: ARG001 (any call is refused)
        raise self.refuse(operation, reason, remedy)

    method.__name__ = name
    method.__qualname__ = f"KernelLoop.{name}"
    method.__doc__ = f"Refuse, since it {reason}."
    return method


_REFUSALS: Final = (
    ("drives the loop that the worker drives", _AWAIT, "run_forever run_until_complete stop close"),
    ("lets another thread decide the order", _MESSAGE, "call_soon_threadsafe"),
    ("needs a thread", STEP, "run_in_executor set_default_executor shutdown_default_executor"),
    (
        "needs the network",
        STEP,
        """getaddrinfo getnameinfo create_connection create_server create_datagram_endpoint
        create_unix_connection create_unix_server connect_accepted_socket start_tls sendfile
        sock_accept sock_connect sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into
        sock_sendall sock_sendto sock_sendfile""",
    ),
    (
        "waits for a file descriptor",
        STEP,
        "add_reader remove_reader add_writer remove_writer connect_read_pipe connect_write_pipe",
    ),
    ("starts a process", STEP, "subprocess_exec subprocess_shell"),
    ("waits for a signal of the operating system", _MESSAGE, "add_signal_handler remove_signal_handler"),
    ("would let tasks begin before their turn", _CREATE, "set_task_factory"),
    ("would time callbacks by the wall clock", "debug the workflow in a test instead", "set_debug"),
)

for _reason, _remedy, _names in _REFUSALS:
    for _name in _names.split():
        setattr(ClosedOutside, _name, _refused(_name, _reason, _remedy))
