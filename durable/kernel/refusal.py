"""What a kernel loop refuses, by name, and the words of each refusal (L1).

An event loop has two faces: it schedules coroutines, and it reaches outside, to threads, sockets, processes
and signals. Of the outside a history records only what steps and messages brought in, so in a workflow the
second face is closed, method by method. A refusal is raised where the call is made, not from a coroutine
that somebody has yet to await.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio.events import _get_running_loop
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn

from durable.errors import AuthorError, DeterminismError
from durable.kernel.location import Owner, owner_of, place_of


class Grounds(NamedTuple):
    """Why something is refused, as the end of a sentence about it, and what to do instead."""

    reason: str
    remedy: str


_STEP: Final = "move it into a step: await ctx.step(...)"
_CREATE: Final = "start tasks with asyncio.create_task(...) or a task group"
_MESSAGE: Final = "send the run a message: await handle.signal(...)"

THREAD: Final = Grounds("needs a thread", _STEP)
EAGER: Final = Grounds("would let a task begin before its turn", _CREATE)
NESTED: Final = Grounds("runs an event loop inside that of the workflow", f"await the coroutine; {_CREATE}")
_NETWORK: Final = Grounds("needs the network", _STEP)
_FILE: Final = Grounds("waits for a file descriptor", _STEP)
_PROCESS: Final = Grounds("starts a process", _STEP)
_SIGNAL: Final = Grounds("waits for a signal of the operating system", _MESSAGE)
_FOREIGN: Final = Grounds("lets another thread decide the order", _MESSAGE)
_DRIVE: Final = Grounds("drives the loop that the worker drives", f"await the coroutine; {_CREATE}")
_DEBUG: Final = Grounds("would time callbacks by the wall clock", "debug the workflow in a test")


def close_coroutines(*values: object) -> None:
    """Close the coroutines among what a refused call was given, which nobody will await."""
    for value in values:
        if inspect.iscoroutine(value):
            value.close()


def _find_call(operation: str) -> tuple[str, FrameType | None]:
    """What the author's code called to get here, and its frame, by the stack of this thread.

    It is the outermost frame of a library in this drain where the author's code is not on the stack, as for a task of
    ``asyncio.to_thread(...)``.
    """
    frame: FrameType | None = sys._getframe(1)
    call = operation
    while frame is not None and frame.f_code.co_qualname != "KernelLoop.drain":
        owner = owner_of(frame.f_code.co_filename)
        if owner is Owner.USER:
            return call, frame
        if owner is not Owner.MACHINE:
            call = f"{_public_name(frame)}()"
        frame = frame.f_back
    return call, None


def _public_name(frame: FrameType) -> str:
    """``asyncio.to_thread``: the name under which a package offers what runs in a frame."""
    module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
    package = module.partition(".")[0]
    offered = getattr(sys.modules.get(package), name.partition(".")[0], None)
    return f"{package if getattr(offered, '__module__', None) in (module, package) else module}.{name}"


class _Refused:
    """A method of the loop that may not be called."""

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds

    def __set_name__(self, owner: type, name: str) -> None:
        self._operation = f"loop.{name}()"

    def __get__(self, loop: ClosedOutside | None, owner: type) -> Any:
        if loop is None:
            return self

        def refuse(*args: object, **kwargs: object) -> NoReturn:
            close_coroutines(*args, *kwargs.values())
            raise loop.refuse(self._operation, self.grounds)

        return refuse


def _refused(grounds: Grounds) -> Any:
    return _Refused(grounds)


class ClosedOutside(asyncio.AbstractEventLoop):
    """The half of an event loop that reaches outside, each method of it refused.

    Attributes:
        violation: the first refusal, or hit of the guard, in this activation. It decides, even if user code
            swallows the exception (G1).
        workflow: name of the workflow, for messages.
    """

    violation: BaseException | None
    workflow: str

    def refuse(self, operation: str, grounds: Grounds) -> BaseException:
        """Note a violation and return the error to raise for it.

        Args:
            operation: what was called, as its caller would write it.
            grounds: why it is refused.
        """
        if _get_running_loop() is not self:
            # Some thread holds on to the loop. A BaseException would end its executor without a word.
            return AuthorError(
                f"{operation} was called from outside the workflow\n  remedy: {_MESSAGE}",
                operation=operation,
                remedy=_MESSAGE,
            )
        reason, remedy = grounds
        call, frame = _find_call(operation)
        who = f"workflow {self.workflow!r}" if self.workflow else "workflow code"
        where = "" if frame is None else place_of(frame)
        inner = "" if call == operation else f" ({operation})"
        error = DeterminismError(
            f"{who} called {call}{f' at {where}' if where else ''}: it {reason}{inner}; {remedy}",
            workflow=self.workflow or None,
            operation=operation,
            call=call,
            where=where,
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

    run_forever = _refused(_DRIVE)
    run_until_complete = _refused(_DRIVE)
    stop = _refused(_DRIVE)
    close = _refused(_DRIVE)
    set_task_factory = _refused(EAGER)
    set_debug = _refused(_DEBUG)

    call_soon_threadsafe = _refused(_FOREIGN)
    run_in_executor = _refused(THREAD)
    set_default_executor = _refused(THREAD)
    shutdown_default_executor = _refused(THREAD)

    getaddrinfo = _refused(_NETWORK)
    getnameinfo = _refused(_NETWORK)
    create_connection = _refused(_NETWORK)
    create_server = _refused(_NETWORK)
    create_datagram_endpoint = _refused(_NETWORK)
    create_unix_connection = _refused(_NETWORK)
    create_unix_server = _refused(_NETWORK)
    connect_accepted_socket = _refused(_NETWORK)
    start_tls = _refused(_NETWORK)
    sendfile = _refused(_NETWORK)
    sock_accept = _refused(_NETWORK)
    sock_connect = _refused(_NETWORK)
    sock_recv = _refused(_NETWORK)
    sock_recv_into = _refused(_NETWORK)
    sock_recvfrom = _refused(_NETWORK)
    sock_recvfrom_into = _refused(_NETWORK)
    sock_sendall = _refused(_NETWORK)
    sock_sendto = _refused(_NETWORK)
    sock_sendfile = _refused(_NETWORK)

    add_reader = _refused(_FILE)
    remove_reader = _refused(_FILE)
    add_writer = _refused(_FILE)
    remove_writer = _refused(_FILE)
    connect_read_pipe = _refused(_FILE)
    connect_write_pipe = _refused(_FILE)

    subprocess_exec = _refused(_PROCESS)
    subprocess_shell = _refused(_PROCESS)

    add_signal_handler = _refused(_SIGNAL)
    remove_signal_handler = _refused(_SIGNAL)


def refused_methods() -> dict[str, Grounds]:
    """The methods of the loop that are refused, with their grounds; the linter reads them."""
    return {name: value.grounds for name, value in vars(ClosedOutside).items() if isinstance(value, _Refused)}
