"""Open questions to people."""

import pytest

from conformance.build import (
    COMPLETED,
    SECOND,
    STARTED,
    T0,
    begin,
    ended,
    fact,
    message,
    new_run,
    question,
    reclaim,
)
from durable.errors import QuestionNotFoundError
from durable.handle import RunStatus
from durable.history import EventKind

pytestmark = pytest.mark.anyio


async def test_question_is_open_as_it_was_asked(store):
    author = await begin(store)
    asked = question(author.run, 3, kind="approval", detail='{"context":{"to":"prod"}}', deadline_us=T0 + 60 * SECOND)
    await author.commit(STARTED, questions=[asked])
    assert await store.questions("w") == [asked]


async def test_questions_of_one_workflow_id_or_of_all_come_oldest_first(store):
    expected = []
    for workflow_id, asked_at_us in [("a", T0 + 3), ("b", T0 + 1), ("c", T0 + 2)]:
        author = await begin(store, workflow_id)
        asked = [question(author.run, 1, asked_at_us), question(author.run, 2, asked_at_us + 10)]
        await author.commit(STARTED, questions=asked)
        expected += asked
    expected.sort(key=lambda one: one.asked_at_us)
    assert await store.questions() == expected
    assert await store.questions("b") == [one for one in expected if one.workflow_id == "b"]
    assert await store.questions("nobody") == []


async def test_question_that_was_closed_is_gone(store):
    author = await begin(store)
    await author.commit(STARTED, questions=[question(author.run, 1), question(author.run, 2)])
    await author.commit(fact(EventKind.QUESTION_ANSWERED, 1), closed_questions=[1, 7])
    assert [open_one.command for open_one in await store.questions("w")] == [2]


async def test_question_that_is_asked_and_closed_in_one_turn_never_was(store):
    author = await begin(store)
    await author.commit(STARTED, questions=[question(author.run, 1)], closed_questions=[1])
    assert await store.questions() == []


@pytest.mark.parametrize("status", [status for status in RunStatus if status.is_closed])
async def test_questions_of_a_run_that_ends_are_closed(store, status):
    author = await begin(store)
    await author.commit(STARTED, questions=[question(author.run, 1)])
    await author.commit(COMPLETED, change=ended(status))
    assert await store.questions() == []


async def test_questions_of_the_current_run_are_asked_by_workflow_id(store):
    author = await begin(store)
    await author.commit(STARTED, COMPLETED, questions=[question(author.run, 1)], change=ended())
    await store.start(new_run(on_conflict="replace", messages=[message()]))
    again = await reclaim(store)
    await again.commit(STARTED, questions=[question(again.run, 2)])
    assert await store.questions("w") == [question(again.run, 2)]


def answer(author, command=1, message_id=None):
    return message("w", fact(EventKind.QUESTION_ANSWERED, command, name="key"), message_id, author.run.run_id)


async def answers(store, author):
    return [row for row in await store.read_inbox(author.run.run_id) if row.fact.kind == EventKind.QUESTION_ANSWERED]


async def test_question_takes_one_answer_at_a_time(store):
    """Who answered in vain must not believe that it was decided so."""
    author = await begin(store)
    await author.commit(STARTED, questions=[question(author.run, 1), question(author.run, 2)])
    await store.send(answer(author))
    with pytest.raises(QuestionNotFoundError, match="has its answer already"):
        await store.send(answer(author))
    await store.send(answer(author, 2))
    rows = await answers(store, author)
    assert [row.fact.command for row in rows] == [1, 2]
    await author.commit(fact(EventKind.QUESTION_ANSWERED, 1), consumed=[rows[0].row_id])  # it wants another one as well
    await store.send(answer(author))


async def test_question_that_is_not_open_takes_no_answer(store):
    author = await begin(store)
    await author.commit(STARTED, questions=[question(author.run, 1)])
    await author.commit(fact(), closed_questions=[1])
    for command in (1, 2):
        with pytest.raises(QuestionNotFoundError, match="not open any more"):
            await store.send(answer(author, command))
    assert await answers(store, author) == []


async def test_answer_that_is_sent_again_is_acknowledged_again(store):
    author = await begin(store)
    await author.commit(STARTED, questions=[question(author.run, 1)])
    for _ in range(2):
        await store.send(answer(author, message_id="m"))
    assert len(await answers(store, author)) == 1
