"""The table of calls that workflow code must leave to steps or to its context; guard and linter both read it.

A rule says what is wrong with one callable and what to write instead. ``sight`` says who notices: the guard at the
call (``CALL``), the guard through an audit event however deep in a library it happens (``AUDIT``), the loop by refusing
it (``LOOP``), or the linter alone (``LINTER``) because nothing announces the call at run time, or because the answer
seldom changes and stopping a run in production for it would be worse.

The table is data only. Looking names up in modules is the guard's business, resolving imports in source the linter's.
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
        event: the audit event that announces it, or ''.
        harmless_from: with this many positional arguments or more it is harmless (``time.gmtime(0)``); 0 for never.
    """

    module: str
    name: str
    category: Category
    reason: str
    remedy: str
    sight: Sight
    event: str = ""
    harmless_from: int = 0

    @property
    def call(self) -> str:
        """The dotted name as an author writes it after importing the module."""
        return self.name if self.module == "builtins" else f"{self.module}.{self.name}"


_DIFFERS = "its result would differ on replay"
_SHARED = "it draws from a generator that replay cannot rewind"
_BLOCKS = "it stops every run of this worker and is not recorded"
_UNRECORDED = "what it finds or changes is not recorded for replay"
_UNORDERED = "what a thread does, and when, is not recorded for replay"
_OUTSIDE = "it does not belong to the run's history, so replay would do it again"
_ELSEWHERE = "its answer depends on the process or machine that asks"

_NOW = "use ctx.now()"
_ELAPSED = "subtract two ctx.now(), or measure inside a step"
_RANDOM = "use ctx.random"
_UUID = "use ctx.uuid4()"
_SLEEP = "use await ctx.sleep(...)"
_STEP = "do it in a step: await ctx.step(...)"
_TASKS = "start tasks in a task group, or do it in a step: await ctx.step(...)"


def _rules(
    module: str,
    names: str,
    category: Category,
    why: tuple[str, str],
    sight: Sight,
    *,
    event: str = "",
    harmless_from: int = 0,
) -> Iterator[Rule]:
    """One rule a name; a name may carry its own audit event, as in ``unlink=os.remove``."""
    reason, remedy = why
    for entry in names.split():
        name, _, own = entry.partition("=")
        yield Rule(module, name, category, reason, remedy, sight, own or event, harmless_from)


def _clocks() -> Iterator[Rule]:
    clock, call = Category.CLOCK, Sight.CALL
    yield from _rules("time", "time time_ns clock_gettime clock_gettime_ns", clock, (_DIFFERS, _NOW), call)
    yield from _rules(
        "time", "localtime gmtime ctime asctime", clock, (_DIFFERS, _NOW), call, harmless_from=1
    )
    yield from _rules("time", "strftime", clock, (_DIFFERS, _NOW), call, harmless_from=2)
    elapsed = "monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time thread_time_ns"
    yield from _rules("time", elapsed, clock, (_DIFFERS, _ELAPSED), call)
    yield from _rules(
        "datetime", "datetime.now datetime.utcnow datetime.today date.today", clock, (_DIFFERS, _NOW), call
    )
    for module, names in (
        ("pendulum", "now today"),
        ("arrow", "now utcnow"),
        ("django.utils.timezone", "now"),
    ):
        yield from _rules(module, names, clock, (_DIFFERS, _NOW), Sight.LINTER)


def _randomness() -> Iterator[Rule]:
    randomness, call = Category.RANDOMNESS, Sight.CALL
    names = (
        "random uniform triangular randint randrange choice choices sample shuffle getrandbits randbytes seed getstate "
        "setstate gauss normalvariate lognormvariate expovariate vonmisesvariate gammavariate betavariate "
        "binomialvariate paretovariate weibullvariate SystemRandom"
    )
    yield from _rules("random", names, randomness, (_SHARED, _RANDOM), call)
    yield from _rules(
        "random",
        "Random",
        randomness,
        ("without a seed it differs on replay", _RANDOM),
        call,
        harmless_from=1,
    )
    yield from _rules("uuid", "uuid1 uuid4 uuid6 uuid7", randomness, (_DIFFERS, _UUID), call)
    yield from _rules("os", "urandom getrandom", randomness, (_DIFFERS, _RANDOM), call)
    secret = (_DIFFERS, "draw secrets in a step: await ctx.step(...)")
    names = "token_bytes token_hex token_urlsafe randbelow randbits choice SystemRandom"
    yield from _rules("secrets", names, randomness, secret, call)
    yield from _rules("numpy.random", "*", randomness, (_SHARED, _RANDOM), Sight.LINTER)


def _waiting() -> Iterator[Rule]:
    yield from _rules("time", "sleep=time.sleep", Category.SLEEP, (_BLOCKS, _SLEEP), Sight.CALL)
    ask = (_OUTSIDE, "use await ctx.ask_user(...)")
    yield from _rules("builtins", "input=builtins.input", Category.INPUT, ask, Sight.AUDIT)
    ask = (_OUTSIDE, "use ctx.log, which is silent during replay")
    yield from _rules("builtins", "print", Category.OUTPUT, ask, Sight.LINTER)


def _threads() -> Iterator[Rule]:
    thread, why = Category.THREAD, (_UNORDERED, _TASKS)
    start = "_thread.start_new_thread"
    joinable = "_thread.start_joinable_thread"
    yield from _rules("threading", "Thread.start", thread, why, Sight.CALL, event=start)
    yield from _rules(
        "_thread",
        f"start_new_thread={start} start_new={start} {joinable[8:]}={joinable}",
        thread,
        why,
        Sight.CALL,
    )
    yield from _rules(
        "concurrent.futures",
        "ThreadPoolExecutor.submit ThreadPoolExecutor.map",
        thread,
        why,
        Sight.AUDIT,
        event=start,
    )
    yield from _rules("anyio", "to_thread.run_sync", thread, why, Sight.AUDIT, event=start)
    yield from _rules("asyncio", "to_thread", thread, why, Sight.LOOP)


def _processes() -> Iterator[Rule]:
    process, why, audit = Category.PROCESS, (_OUTSIDE, _STEP), Sight.AUDIT
    yield from _rules("os", "fork=os.fork forkpty=os.forkpty", process, why, Sight.CALL)
    yield from _rules(
        "subprocess",
        "Popen run call check_call check_output getoutput",
        process,
        why,
        audit,
        event="subprocess.Popen",
    )
    yield from _rules("os", "popen", process, why, audit, event="subprocess.Popen")
    yield from _rules("os", "system=os.system kill=os.kill killpg=os.killpg", process, why, audit)
    yield from _rules("os", "posix_spawn posix_spawnp", process, why, audit, event="os.posix_spawn")
    yield from _rules(
        "os", "execv execve execvp execvpe execl execle execlp", process, why, audit, event="os.exec"
    )
    yield from _rules("multiprocessing", "Process.start Pool", process, why, audit, event="os.fork")
    yield from _rules(
        "concurrent.futures",
        "ProcessPoolExecutor.submit",
        process,
        why,
        audit,
        event="_thread.start_new_thread",
    )
    yield from _rules("asyncio", "create_subprocess_exec create_subprocess_shell", process, why, Sight.LOOP)
    yield from _rules("anyio", "run_process open_process to_process.run_sync", process, why, Sight.LOOP)


def _files() -> Iterator[Rule]:
    file, why, audit = Category.FILE, (_UNRECORDED, _STEP), Sight.AUDIT
    yield from _rules("builtins", "open", file, why, audit, event="open")
    yield from _rules("io", "open", file, why, audit, event="open")
    own = "listdir scandir mkdir remove rename rmdir link symlink truncate chmod chown utime chdir"
    yield from _rules("os", " ".join(f"{name}=os.{name}" for name in own.split()), file, why, audit)
    yield from _rules(
        "os",
        "open=open walk=os.scandir makedirs=os.mkdir unlink=os.remove replace=os.rename",
        file,
        why,
        audit,
    )
    yield from _rules("os", "stat lstat access readlink getcwd", file, why, Sight.CALL)
    yield from _rules("os.path", "exists isfile isdir getsize getmtime", file, why, Sight.CALL)
    yield from _rules(
        "pathlib", "Path.exists Path.is_file Path.is_dir Path.stat Path.cwd Path.home", file, why, Sight.CALL
    )
    opening = "open read_text read_bytes write_text write_bytes touch"
    yield from _rules(
        "pathlib", " ".join(f"Path.{name}" for name in opening.split()), file, why, audit, event="open"
    )
    yield from _rules(
        "pathlib",
        "Path.iterdir=os.listdir Path.glob=pathlib.Path.glob Path.rglob=pathlib.Path.rglob",
        file,
        why,
        audit,
    )
    yield from _rules(
        "pathlib",
        "Path.mkdir=os.mkdir Path.unlink=os.remove Path.rename=os.rename Path.rmdir=os.rmdir",
        file,
        why,
        audit,
    )
    own = "copyfile copytree move rmtree"
    yield from _rules("shutil", " ".join(f"{name}=shutil.{name}" for name in own.split()), file, why, audit)
    yield from _rules("shutil", "copy copy2", file, why, audit, event="shutil.copyfile")
    yield from _rules("tempfile", "mkstemp=tempfile.mkstemp mkdtemp=tempfile.mkdtemp", file, why, audit)
    yield from _rules(
        "tempfile", "TemporaryFile NamedTemporaryFile SpooledTemporaryFile", file, why, audit, event="open"
    )
    yield from _rules("tempfile", "TemporaryDirectory", file, why, audit, event="tempfile.mkdtemp")
    yield from _rules("glob", "glob=glob.glob iglob=glob.glob", file, why, audit)
    yield from _rules("sqlite3", "connect=sqlite3.connect", file, why, audit)
    yield from _rules("anyio", "open_file", file, why, audit, event="_thread.start_new_thread")


def _network() -> Iterator[Rule]:
    network, why, audit = Category.NETWORK, (_OUTSIDE, _STEP), Sight.AUDIT
    yield from _rules("socket", "socket socketpair", network, why, audit, event="socket.__new__")
    yield from _rules("socket", "create_connection", network, why, audit, event="socket.getaddrinfo")
    own = "getaddrinfo gethostbyname gethostbyaddr gethostname getnameinfo"
    yield from _rules(
        "socket", " ".join(f"{name}=socket.{name}" for name in own.split()), network, why, audit
    )
    own = "connect bind sendto sendmsg"
    yield from _rules(
        "socket", " ".join(f"socket.{name}=socket.{name}" for name in own.split()), network, why, audit
    )
    yield from _rules(
        "urllib.request", "urlopen=urllib.Request urlretrieve=urllib.Request", network, why, audit
    )
    yield from _rules("http.client", "HTTPConnection.connect=http.client.connect", network, why, audit)
    yield from _rules("smtplib", "SMTP=smtplib.connect", network, why, audit)
    yield from _rules("ftplib", "FTP=ftplib.connect", network, why, audit)
    for module in ("requests", "httpx"):
        yield from _rules(
            module,
            "get post put patch delete head options request",
            network,
            why,
            audit,
            event="socket.getaddrinfo",
        )
    yield from _rules(
        "asyncio", "open_connection start_server open_unix_connection", network, why, Sight.LOOP
    )
    yield from _rules("aiohttp", "request ClientSession", network, why, Sight.LOOP)
    yield from _rules("anyio", "connect_tcp connect_unix create_tcp_listener", network, why, Sight.LOOP)


def _environment() -> Iterator[Rule]:
    environment, linter = Category.ENVIRONMENT, Sight.LINTER
    why = (_ELSEWHERE, "pass it in as an argument, or read it in a step: await ctx.step(...)")
    yield from _rules(
        "os", "getenv environ.get getpid getppid getlogin cpu_count uname", environment, why, linter
    )
    yield from _rules("platform", "node system machine release version platform", environment, why, linter)
    why = (_ELSEWHERE, "use a key from the data itself, or hashlib")
    yield from _rules("builtins", "id hash", environment, why, linter)


RULES: Final[tuple[Rule, ...]] = (
    *_clocks(), *_randomness(), *_waiting(), *_threads(), *_processes(), *_files(), *_network(), *_environment(),
)  # fmt: skip
"""Every rule, by category."""

_BY_CALL: Final[Mapping[str, Rule]] = MappingProxyType({f"{rule.module}.{rule.name}": rule for rule in RULES})


def _first_by_event() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for rule in RULES:
        if rule.event:
            found.setdefault(rule.event, rule)
    return found


EVENTS: Final[Mapping[str, Rule]] = MappingProxyType(_first_by_event())
"""The rule that speaks for each audit event: the plainest of those that it announces."""


def find_rule(name: str) -> Rule | None:
    """Return the rule about a fully qualified name, ``builtins.open`` or ``numpy.random.rand``, if there is one."""
    rule = _BY_CALL.get(name)
    if rule is None:
        module, _, _ = name.rpartition(".")
        rule = _BY_CALL.get(f"{module}.*")
    return rule
