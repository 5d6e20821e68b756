"""What the random programs of test_kernel.py have found, as small as it gets."""

from __future__ import annotations

from importlib.metadata import version

from kernel_model.world import SECOND, World, failure

from durable.handle import RollbackStatus
from durable.history import EventKind, Fact


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.history]


def test_timeout_of_a_run_expires_once_also_when_the_cleanup_is_replayed() -> None:
    world = World(["finally", ["sleep", "ctx", 3], ["step", 0]], 0, 1)
    world.turn([], SECOND)
    world.turn([], SECOND)
    world.settle()
    assert kinds(world).count(EventKind.RUN_TIMED_OUT) == 1
    assert EventKind.STEP_COMPLETED in kinds(world)
    world.close()


def test_timeout_does_not_reach_a_run_that_went_on_as_a_new_one() -> None:
    world = World(["again"], 0, 1)
    assert world.kept.activate([], world.now_us + 2 * SECOND, "worker").unread == []
    world.close()


def test_order_to_resume_a_rollback_is_refused_while_the_code_goes_on() -> None:
    world = World(["sequence", ["compensate", 0], ["gather", ["signal", None], ["rollback"]]], 0, None)
    world.turn([Fact(EventKind.STEP_FAILED, next(iter(world.kept.open)), "work", None, failure(1))])
    assert world.kept.rollback is RollbackStatus.FAILED
    assert not world.is_closed
    world.turn([Fact(EventKind.ROLLBACK_REQUESTED)])
    assert EventKind.ROLLBACK_REQUESTED not in kinds(world)
    world.settle()
    world.close()


def test_what_code_reads_of_a_cancelled_scope_is_the_same_after_a_replay() -> None:
    world = World(["sequence", ["timeout", "anyio", 1, ["step", 0]], ["step", 0]], 0, 2)
    world.turn([], 2 * SECOND)
    says_which_scope = tuple(map(int, version("anyio").split(".")[:2])) >= (
        4,
        16,
    )  # by a message, which holds an address
    assert ("Cancelled via cancel scope" in str(world.trace)) is says_which_scope
    world.close()


def test_run_whose_rollback_is_ordered_again_is_over_when_that_one_is() -> None:
    world = World(["sequence", ["compensate", 0], ["step", 0]], 0, None)
    for _ in range(2):  # the step, then its compensation
        world.turn([Fact(EventKind.STEP_FAILED, next(iter(world.kept.open)), "work", None, failure(1))])
    assert (world.is_closed, world.kept.rollback) == (True, RollbackStatus.FAILED)
    world.turn([Fact(EventKind.ROLLBACK_REQUESTED)])
    assert (world.is_closed, world.kept.rollback) == (True, RollbackStatus.RUNNING)
    world.settle()
    assert world.kept.rollback is RollbackStatus.COMPLETED
    ended = len(world.history)
    world.turn(world.possible_facts(), 3600 * SECOND)
    assert len(world.history) == ended
    world.close()
