"""Every exception of the project, drawn as a tree whose branches say who must act.

    BaseException
    └── DeterminismError              the author: workflow code did what only steps may do
    DurableError
    ├── AuthorError                   the code must change
    │   ├── DefinitionError           a workflow, step or message is declared wrongly
    │   ├── PayloadError              a value does not pass through JSON and back
    │   │   ├── EncodeError
    │   │   └── DecodeError
    │   ├── NondeterminismError       replay and history disagree
    │   ├── MissingCodeError          history names a definition or class that this process lacks
    │   ├── BlockedLoopError          workflow code kept the event loop busy
    │   ├── WorkflowAbortError        workflow code raised what ends an interpreter
    │   ├── PoisonError               workflow code takes its worker down again and again
    │   └── ReadOnlyError             a query, validator or predicate tried to change something
    ├── OperatorError                 the store, the host or the configuration must change
    │   ├── StoreError
    │   │   ├── StoreUnavailableError    worth waiting for: locked, full, gone for a minute
    │   │   └── StoreFormatError         not ours, damaged, or written by a newer version
    │   ├── MissingExtraError
    │   └── ConfigurationError
    ├── CallerError                   the call must change
    │   ├── RunNotFoundError, RunExistsError, RunClosedError, RunNotRetriableError
    │   ├── MessageRejectedError, UnknownMessageError, QuestionNotFoundError
    │   └── ResultTimeoutError, UpdateTimeoutError, QueryTimeoutError   (TimeoutError)
    ├── OutcomeError                  something durable ended badly; workflow code may catch it
    │   ├── StepError
    │   │   ├── StepTimeoutError      (TimeoutError)
    │   │   ├── StepLostError
    │   │   ├── StepInDoubtError
    │   │   └── StepCancelledError
    │   ├── ChildError                ChildFailedError, ChildCancelledError, ChildTerminatedError, ChildExistsError
    │   ├── ApprovalRejectedError
    │   ├── WaitTimeoutError          (TimeoutError) SignalTimeoutError, ConditionTimeoutError, QuestionTimeoutError
    │   ├── MessageUndeliverableError
    │   ├── UpdateFailedError, QueryFailedError
    │   ├── RollbackFailedError
    │   └── RunError                  RunFailedError, RunCancelledError, RunTerminatedError, RunTimeoutError, RunStuckError
    └── InternalError                 ours: HistoryCorruptedError, ConflictError

Every class has a stable ``code`` (DURnnnn): 1 the author, 2 the operator, 3 the caller, 4 an outcome, 5 ours.
``docs/errors.md`` lists them by code. Data lives in attributes, and every error survives pickling.
"""

from __future__ import annotations

from typing import Any, ClassVar


class DurableError(Exception):
    """The root of what this project raises on purpose.

    Attributes:
        code: stable identifier, listed in docs/errors.md.
        message: the text without the code.
        data: the facts of this case by name, JSON-compatible.
    """

    code: ClassVar[str] = "DUR0000"

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.data, dict(self.__dict__))


def _rebuild(cls: type[DurableError], message: str, data: dict[str, Any], state: dict[str, Any]) -> DurableError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.message = message
    error.data = data
    error.__dict__.update(state)
    return error


class DeterminismError(BaseException):
    """Workflow code did what only a step may do. A BaseException, so that ``except Exception`` cannot hide it."""

    code: ClassVar[str] = "DUR1100"

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,), {"data": self.data}


# -- the author -------------------------------------------------------------------------------------------


class AuthorError(DurableError):
    """The code must change."""

    code = "DUR1000"


class DefinitionError(AuthorError):
    """A workflow, step or message is declared wrongly."""

    code = "DUR1001"


class PayloadError(AuthorError):
    """A value does not pass through JSON and back.

    Attributes:
        path: where in the value, like ``order.items[3].price``; empty for the value itself.
    """

    code = "DUR1010"

    def __init__(self, message: str = "", *, path: str = "", **data: Any) -> None:
        super().__init__(message, path=path, **data)
        self.path = path

    def blame(self, owner: str) -> None:
        """Say whose value it is, in front of the message: ``the result of step 'charge'``."""
        self.message = f"{owner}: {self.message}"
        self.args = (self.message,)


class EncodeError(PayloadError):
    """A value cannot be recorded, or would not come back equal and of its type."""

    code = "DUR1011"


class DecodeError(PayloadError):
    """Recorded or received JSON does not fit the annotation."""

    code = "DUR1012"


class NondeterminismError(AuthorError):
    """Replay asked for something else than history records."""

    code = "DUR1101"


class MissingCodeError(AuthorError):
    """History names a definition or an exception class that this process does not have."""

    code = "DUR1102"


class BlockedLoopError(AuthorError):
    """Workflow code kept the event loop busy for longer than the watchdog allows."""

    code = "DUR1103"


class WorkflowAbortError(AuthorError):
    """Workflow code raised what ends an interpreter: SystemExit, KeyboardInterrupt, RecursionError, MemoryError."""

    code = "DUR1105"


class PoisonError(AuthorError):
    """Workflow code takes its worker down again and again."""

    code = "DUR1106"


class ReadOnlyError(AuthorError):
    """A query handler, a validator or a predicate tried to change the run."""

    code = "DUR1104"


# -- the operator -----------------------------------------------------------------------------------------


class OperatorError(DurableError):
    """The store, the host or the configuration must change."""

    code = "DUR2000"


class StoreError(OperatorError):
    """The store could not do what it was asked."""

    code = "DUR2001"


class StoreUnavailableError(StoreError):
    """The store does not answer now: locked, full or gone. Waiting and trying again is right."""

    code = "DUR2002"


class StoreFormatError(StoreError):
    """The file is no store of ours, is damaged, or was written by a newer version."""

    code = "DUR2003"


class MissingExtraError(OperatorError):
    """An optional dependency is not installed; the message names the extra."""

    code = "DUR2004"


class ConfigurationError(OperatorError):
    """A setting, flag, URL or target cannot be understood."""

    code = "DUR2005"


# -- the caller -------------------------------------------------------------------------------------------


class CallerError(DurableError):
    """The call must change."""

    code = "DUR3000"


class RunNotFoundError(CallerError):
    """No run has this id in the store that was searched."""

    code = "DUR3001"


class RunExistsError(CallerError):
    """The workflow id is taken, and ``on_conflict`` does not allow that."""

    code = "DUR3002"


class RunClosedError(CallerError):
    """The run has ended, so it takes no more messages."""

    code = "DUR3003"


class RunNotRetriableError(CallerError):
    """The run is not in a state that a retry or a rollback may start from."""

    code = "DUR3004"


class MessageRejectedError(CallerError):
    """A signal, update, query or answer does not fit its schema, or a validator refused it."""

    code = "DUR3010"


class UnknownMessageError(CallerError):
    """The workflow has no handler of this name; the message lists those that it has."""

    code = "DUR3011"


class QuestionNotFoundError(CallerError):
    """The run is not asking this question, or several and the key was not given."""

    code = "DUR3012"


class ResultTimeoutError(CallerError, TimeoutError):
    """The caller stopped waiting for a result; the run goes on."""

    code = "DUR3020"


class UpdateTimeoutError(CallerError, TimeoutError):
    """The caller stopped waiting for an update; the update is not lost."""

    code = "DUR3021"


class QueryTimeoutError(CallerError, TimeoutError):
    """No worker answered the query in time."""

    code = "DUR3022"


# -- outcomes ---------------------------------------------------------------------------------------------


class OutcomeError(DurableError):
    """Something durable ended badly. Workflow code may catch it."""

    code = "DUR4000"


class StepError(OutcomeError):
    """A step failed, and the class that it raised cannot be rebuilt here.

    Attributes:
        step: name of the step.
        error_type: qualified name of the class that was raised.
        attempts: how many attempts were made.
    """

    code = "DUR4001"

    def __init__(
        self, message: str = "", *, step: str = "", error_type: str = "", attempts: int = 1, **data: Any
    ) -> None:
        super().__init__(message, step=step, error_type=error_type, attempts=attempts, **data)
        self.step = step
        self.error_type = error_type
        self.attempts = attempts


class StepTimeoutError(StepError, TimeoutError):
    """An attempt or the whole step took longer than allowed; the last error is the cause."""

    code = "DUR4002"


class StepLostError(StepError):
    """The worker was lost three times while this step ran."""

    code = "DUR4003"


class StepInDoubtError(StepError):
    """An at-most-once step was started and its outcome is unknown; it is never run again."""

    code = "DUR4004"


class StepCancelledError(StepError):
    """The step was cancelled from outside the workflow, or raised ``CancelledError`` by itself; the message says which."""

    code = "DUR4005"


class ChildError(OutcomeError):
    """A child workflow ended without a result.

    Attributes:
        workflow_id: the child's id.
    """

    code = "DUR4010"

    def __init__(self, message: str = "", *, workflow_id: str = "", **data: Any) -> None:
        super().__init__(message, workflow_id=workflow_id, **data)
        self.workflow_id = workflow_id


class ChildFailedError(ChildError):
    """The child failed; its error is the cause."""

    code = "DUR4011"


class ChildCancelledError(ChildError):
    """The child was cancelled."""

    code = "DUR4012"


class ChildTerminatedError(ChildError):
    """The child was terminated by an operator."""

    code = "DUR4013"


class ChildExistsError(ChildError):
    """The child's workflow id is taken by another run."""

    code = "DUR4014"


class ApprovalRejectedError(OutcomeError):
    """A person said no.

    Attributes:
        by: who rejected.
        comment: what they said.
    """

    code = "DUR4020"

    def __init__(self, message: str = "", *, by: str = "", comment: str = "", **data: Any) -> None:
        super().__init__(message, by=by, comment=comment, **data)
        self.by = by
        self.comment = comment


class WaitTimeoutError(OutcomeError, TimeoutError):
    """A durable wait ended without what it waited for."""

    code = "DUR4030"


class SignalTimeoutError(WaitTimeoutError):
    """No signal came in time."""

    code = "DUR4031"


class ConditionTimeoutError(WaitTimeoutError):
    """The condition did not become true in time."""

    code = "DUR4032"


class QuestionTimeoutError(WaitTimeoutError):
    """Nobody answered in time."""

    code = "DUR4033"


class MessageUndeliverableError(OutcomeError):
    """A signal or cancellation was sent to a run that does not exist or has ended."""

    code = "DUR4040"


class UpdateFailedError(OutcomeError):
    """The update's handler raised; only the update failed."""

    code = "DUR4041"


class QueryFailedError(OutcomeError):
    """The query's handler raised; only the query failed."""

    code = "DUR4042"


class RollbackFailedError(OutcomeError):
    """A compensation failed for good while workflow code was undoing; its error is the cause. It stays registered.

    Attributes:
        step: name of the compensation.
    """

    code = "DUR4060"

    def __init__(self, message: str = "", *, step: str = "", **data: Any) -> None:
        super().__init__(message, step=step, **data)
        self.step = step


class RunError(OutcomeError):
    """A run ended without a result.

    Attributes:
        workflow_id: the id chosen by the user.
        run_id: the execution.
    """

    code = "DUR4050"

    def __init__(self, message: str = "", *, workflow_id: str = "", run_id: str = "", **data: Any) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id, **data)
        self.workflow_id = workflow_id
        self.run_id = run_id


class RunFailedError(RunError):
    """The workflow raised; its error is the cause."""

    code = "DUR4051"


class RunCancelledError(RunError):
    """The run was cancelled."""

    code = "DUR4052"


class RunTerminatedError(RunError):
    """The run was terminated by an operator."""

    code = "DUR4053"


class RunTimeoutError(RunError, TimeoutError):
    """The run took longer than the workflow's ``timeout``."""

    code = "DUR4054"


class RunStuckError(RunError):
    """The run is stuck: the code or the worker must be mended, then it goes on."""

    code = "DUR4055"


# -- ours -------------------------------------------------------------------------------------------------


class InternalError(DurableError):
    """A fault of this project: please report it."""

    code = "DUR5000"


class HistoryCorruptedError(InternalError):
    """The hash chain of a history is broken, or an event cannot be read."""

    code = "DUR5001"


class ConflictError(InternalError):
    """Another worker owns the run or has moved it on; nothing was written."""

    code = "DUR5002"
