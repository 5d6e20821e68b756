"""The table of calls that workflow code must leave to steps or to its context; guard and linter both read it.

A rule says what is wrong with one callable and what to write instead. ``sight`` says who notices: the guard
at the call (``CALL``), the guard through an audit event however deep in a library it happens (``AUDIT``), the
loop by refusing it (``LOOP``), or the linter alone (``LINTER``) because nothing announces the call at run
time, or because the answer seldom changes and stopping a run in production for it would be worse.

The table is data only. Looking names up in modules is the guard's business, resolving imports in source the
linter's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Category(StrEnum):
    """What kind of thing a forbidden call reaches for."""

    CLOCK = "clock"
    RANDOMNESS = "randomness"
    SLEEP = "sleep"
    THREAD = "thread"
    PROCESS = "process"
    FILE = "file"
    NETWORK = "network"
    INPUT = "input"
    OUTPUT = "output"
    ENVIRONMENT = "environment"
    LOOP = "event loop"


class Sight(StrEnum):
    """Who notices a forbidden call; every call is the linter's as well."""

    CALL = "the guard, when workflow code calls it"
    AUDIT = "the guard, however deep it is called"
    LOOP = "the loop, which refuses it"
    LINTER = "the linter only"


@dataclass(frozen=True, slots=True)
class Rule:
    """One forbidden callable.

    Attributes:
        module: where the callable is documented to live.
        name: its qualified name within the module, ``datetime.now``; ``*`` for everything public there.
        category: what it reaches for.
        reason: why it must not be called, a clause.
        remedy: what to write instead, a clause.
        sight: who notices.
        events: the audit events that announce it.
        harmless_from: it is harmless with at least so many arguments (``time.gmtime(0)``); 0 for never.
    """

    module: str
    name: str
    category: Category
    reason: str
    remedy: str
    sight: Sight
    events: tuple[str, ...] = ()
    harmless_from: int = 0

    @property
    def call(self) -> str:
        """The dotted name as an author writes it after importing the module."""
        return self.name if self.module == "builtins" else f"{self.module}.{self.name}"


_DIFFERS: Final = "its result would differ on replay"
_OUTSIDE: Final = "it does not belong to the run's history, so replay would do it again"
_STEP: Final = "do it in a step: await ctx.step(...)"
_THREAD_STARTS: Final = "_thread.start_new_thread _thread.start_joinable_thread"


@dataclass(frozen=True, slots=True)
class _Family:
    """What the rules of a group share. Names are separated by spaces; ``unlink=os.remove`` adds an event."""

    category: Category
    reason: str
    remedy: str

    def called(self, module: str, names: str, event: str = "", harmless_from: int = 0) -> Iterator[Rule]:
        """Rules that the guard sees at the call."""
        return self._rules(Sight.CALL, module, names, event, harmless_from)

    def announced(self, module: str, names: str, event: str = "") -> Iterator[Rule]:
        """Rules that an audit event announces, of the same name as the call where none is given."""
        return self._rules(Sight.AUDIT, module, names, event or f"{module}.*")

    def refused(self, module: str, names: str) -> Iterator[Rule]:
        """Rules that the loop enforces."""
        return self._rules(Sight.LOOP, module, names)

    def linted(self, module: str, names: str, harmless_from: int = 0) -> Iterator[Rule]:
        """Rules that only the linter knows."""
        return self._rules(Sight.LINTER, module, names, harmless_from=harmless_from)

    def _rules(self, sight: Sight, module: str, names: str, event: str = "", harmless_from: int = 0) -> Iterator[Rule]:
        for entry in names.split():
            name, _, own = entry.partition("=")
            events = tuple((own or event.replace("*", name)).split())
            yield Rule(module, name, self.category, self.reason, self.remedy, sight, events, harmless_from)


def _clocks() -> Iterator[Rule]:
    clock = _Family(Category.CLOCK, _DIFFERS, "use ctx.now()")
    yield from clock.called("time", "time time_ns clock_gettime clock_gettime_ns")
    yield from clock.called("time", "localtime gmtime ctime asctime", harmless_from=1)
    yield from clock.called("time", "strftime", harmless_from=2)
    yield from clock.called("datetime", "datetime.now datetime.utcnow datetime.today date.today")
    yield from clock.linted("pendulum", "now today")
    yield from clock.linted("arrow", "now utcnow")
    yield from clock.linted("django.utils.timezone", "now")
    stopwatch = _Family(Category.CLOCK, _DIFFERS, "subtract two ctx.now(), or measure inside a step")
    yield from stopwatch.called("time", "monotonic monotonic_ns perf_counter perf_counter_ns")
    yield from stopwatch.called("time", "process_time process_time_ns thread_time thread_time_ns")


def _randomness() -> Iterator[Rule]:
    shared = _Family(Category.RANDOMNESS, "it draws from a generator that replay cannot rewind", "use ctx.random")
    yield from shared.called("random", "random uniform triangular randint randrange choice choices sample")
    yield from shared.called("random", "shuffle getrandbits randbytes seed getstate setstate gauss normalvariate")
    yield from shared.called("random", "lognormvariate expovariate vonmisesvariate gammavariate betavariate")
    yield from shared.called("random", "binomialvariate paretovariate weibullvariate SystemRandom")
    yield from shared.linted("numpy.random", "*")
    unseeded = _Family(Category.RANDOMNESS, "without a seed it differs on replay", "use ctx.random")
    yield from unseeded.called("random", "Random", harmless_from=1)
    yield from unseeded.linted("numpy.random", "default_rng RandomState SeedSequence PCG64 Generator", harmless_from=1)
    system = _Family(Category.RANDOMNESS, _DIFFERS, "use ctx.random")
    yield from system.called("os", "urandom getrandom")
    unique = _Family(Category.RANDOMNESS, _DIFFERS, "use ctx.uuid4()")
    yield from unique.called("uuid", "uuid1 uuid4 uuid6 uuid7")
    secret = _Family(Category.RANDOMNESS, _DIFFERS, "draw secrets in a step: await ctx.step(...)")
    yield from secret.called("secrets", "token_bytes token_hex token_urlsafe randbelow randbits choice SystemRandom")


def _waiting() -> Iterator[Rule]:
    blocking = _Family(Category.SLEEP, "it stops every run of this worker", "use await ctx.sleep(...)")
    yield from blocking.called("time", "sleep=time.sleep")
    console = _Family(Category.INPUT, _OUTSIDE, "use await ctx.ask_user(...)")
    yield from console.announced("builtins", "input")
    console = _Family(Category.OUTPUT, _OUTSIDE, "use ctx.log, which is silent during replay")
    yield from console.linted("builtins", "print")


def _threads() -> Iterator[Rule]:
    thread = _Family(
        Category.THREAD,
        "what a thread does, and when, is not recorded for replay",
        f"use a task group, or {_STEP}",
    )
    yield from thread.called("threading", "Thread.start", _THREAD_STARTS)
    yield from thread.called("_thread", "start_new_thread start_new", "_thread.start_new_thread")
    yield from thread.announced("concurrent.futures", "ThreadPoolExecutor.submit", _THREAD_STARTS)
    yield from thread.refused("asyncio", "to_thread")
    yield from thread.refused("anyio", "to_thread.run_sync")


def _processes() -> Iterator[Rule]:
    process = _Family(Category.PROCESS, _OUTSIDE, _STEP)
    yield from process.called("os", "fork=os.fork forkpty=os.forkpty")
    yield from process.announced("subprocess", "Popen run call check_call check_output", "subprocess.Popen")
    yield from process.announced(
        "os", "system kill killpg posix_spawn posix_spawnp=os.posix_spawn popen=subprocess.Popen"
    )
    yield from process.announced("os", "execv execve execvp execvpe execl execle execlp", "os.exec")
    yield from process.announced("multiprocessing", "Process.start Pool", "os.fork")
    yield from process.announced("concurrent.futures", "ProcessPoolExecutor.submit", _THREAD_STARTS)
    yield from process.refused("asyncio", "create_subprocess_exec create_subprocess_shell")
    yield from process.refused("anyio", "run_process open_process to_process.run_sync")
    handler = _Family(
        Category.PROCESS,
        "when a signal of the operating system comes is not recorded for replay",
        "send the run a message: await handle.signal(...)",
    )
    yield from handler.called("signal", "signal")
    yield from handler.refused("anyio", "open_signal_receiver")


def _files() -> Iterator[Rule]:
    file = _Family(Category.FILE, "what it finds or changes is not recorded for replay", _STEP)
    yield from file.announced("builtins", "open", "open")
    yield from file.announced("io", "open", "open")
    yield from file.announced("os", "listdir scandir mkdir remove rename rmdir link symlink truncate chmod chown utime")
    yield from file.announced(
        "os", "chdir open=open walk=os.scandir makedirs=os.mkdir unlink=os.remove replace=os.rename"
    )
    yield from file.called("os", "stat lstat access readlink getcwd")
    yield from file.called("os.path", "exists isfile isdir getsize getmtime")
    yield from file.called("pathlib", "Path.exists Path.is_file Path.is_dir Path.stat Path.cwd Path.home")
    yield from file.announced("pathlib", "Path.open Path.touch Path.read_text Path.read_bytes", "open")
    yield from file.announced("pathlib", "Path.write_text Path.write_bytes", "open")
    yield from file.announced("pathlib", "Path.glob Path.rglob Path.iterdir=os.listdir Path.mkdir=os.mkdir")
    yield from file.announced("pathlib", "Path.unlink=os.remove Path.rename=os.rename Path.rmdir=os.rmdir")
    yield from file.announced("shutil", "copyfile copytree move rmtree copy=shutil.copyfile copy2=shutil.copyfile")
    yield from file.announced("tempfile", "mkstemp mkdtemp TemporaryDirectory=tempfile.mkdtemp")
    yield from file.announced("tempfile", "TemporaryFile NamedTemporaryFile", "open")
    yield from file.announced("glob", "glob iglob=glob.glob")
    yield from file.announced("sqlite3", "connect")
    yield from file.refused("anyio", "open_file Path")


def _network() -> Iterator[Rule]:
    network = _Family(Category.NETWORK, _OUTSIDE, _STEP)
    yield from network.announced("socket", "socket socketpair", "socket.__new__")
    yield from network.announced("socket", "getaddrinfo gethostbyname gethostbyaddr gethostname getnameinfo")
    yield from network.announced("socket", "create_connection", "socket.getaddrinfo")
    yield from network.announced("socket", "socket.connect=socket.connect socket.bind=socket.bind")
    yield from network.announced("socket", "socket.sendto=socket.sendto socket.sendmsg=socket.sendmsg")
    yield from network.announced("urllib.request", "urlopen urlretrieve", "urllib.Request")
    yield from network.announced("http.client", "HTTPConnection.connect=http.client.connect")
    yield from network.announced("smtplib", "SMTP=smtplib.connect")
    yield from network.announced("ftplib", "FTP=ftplib.connect")
    for module in ("requests", "httpx"):
        yield from network.announced(module, "get post put patch delete head options request", "socket.getaddrinfo")
    yield from network.refused("aiohttp", "request ClientSession")
    yield from network.refused("asyncio", "open_connection start_server open_unix_connection")
    yield from network.refused("anyio", "connect_tcp connect_unix create_tcp_listener")


def _environment() -> Iterator[Rule]:
    reason = "its answer depends on the process or machine that asks"
    environment = _Family(Category.ENVIRONMENT, reason, f"pass it in as an argument, or {_STEP}")
    yield from environment.linted("os", "getenv environ.get getpid getppid getlogin cpu_count uname")
    yield from environment.linted("platform", "node system machine release version platform")
    identity = _Family(Category.ENVIRONMENT, reason, "use a key from the data itself, or hashlib")
    yield from identity.linted("builtins", "id hash")


def _loops() -> Iterator[Rule]:
    loop = _Family(
        Category.LOOP,
        "it runs an event loop inside that of the workflow",
        "await the coroutine, or start it in a task group",
    )
    yield from loop.refused("asyncio", "run Runner new_event_loop")
    yield from loop.refused("anyio", "run")


RULES: Final[tuple[Rule, ...]] = (
    *(*_clocks(), *_randomness(), *_waiting(), *_threads()),
    *(*_processes(), *_files(), *_network(), *_environment(), *_loops()),
)
"""Every rule, by category."""

_BY_CALL: Final[Mapping[str, Rule]] = MappingProxyType({f"{rule.module}.{rule.name}": rule for rule in RULES})


def _first_by_event() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for rule in RULES:
        for event in rule.events:
            found.setdefault(event, rule)
    return found


EVENTS: Final[Mapping[str, Rule]] = MappingProxyType(_first_by_event())
"""The rule that speaks for each audit event: the plainest of those that it announces."""


def find_rule(name: str) -> Rule | None:
    """Return the rule about a qualified name, ``builtins.open`` or ``numpy.random.rand``, if there is one."""
    rule = _BY_CALL.get(name)
    if rule is None:
        module, _, _ = name.rpartition(".")
        rule = _BY_CALL.get(f"{module}.*")
    return rule
