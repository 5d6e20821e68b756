"""What every store does: the specification, and the suite that shows it, one file a concern.

A store keeps runs. Each of its methods is one transaction; ``runtime.store.protocol`` says what each
guarantees and ``runtime.store.row`` what the rows mean. The rest of this page is the same from the side of
the rules.

**Runs.** A workflow id names a sequence of runs of which only the last can be open. "Newer" and "older" mean
the order of creation in the store, never a clock. A start either makes the run or finds the one that has the
id; concurrent starts make one run. (test_start)

**Facts.** All that reaches a run is a fact in its inbox: it is accepted once per message id and workflow id,
for as long as the id is known; a step's outcome once per run and command, by whatever way it comes. Rows
stay until the turn consumes them that turned them into events. A closed run takes nothing, but for the order
to roll back once more where that failed, and the outcomes of compensations while it does. (test_send)

**Readiness.** A run wants a worker from ``ready_at_us`` on. Facts make it ready; a paused run is woken only
by ``RunResumed`` and ``CancelRequested``, a stuck one only by ``RunResumed`` or by other code, and a delayed
start by nothing but ``CancelRequested`` before its time. A claim clears ``ready_at_us``; the commit of the
turn sets it to the run's own next time, or to at once if something unread wakes it, so no wake-up is lost
between claim and commit. (test_claim, test_readiness)

**Ownership.** A claim of a free run sets the owner and raises the epoch; a loss and a fence raise it as
well; a commit names the epoch and the number of the last event, and is refused as a whole if either has
moved. Losing a worker marks what it held as lost; a worker that leaves in order loses nothing. (test_claim,
test_commit, test_takeover)

**Turns.** A turn is all or nothing, and the conflict of one does not touch the others of a batch. It writes
its own rows, creates children, sends messages, changes or ends its run, applies ``on_parent_close`` to its
children, and creates its successor, in this order. (test_commit, test_children, test_continuation)

**The end.** A run that ends drops its questions, its tasks and what it has not read, so that nothing leaks
into a later run of the id. Only ``continued_as_new`` passes unread messages on. (test_continuation,
test_tasks, test_questions)

**Tasks.** A task is claimed, finished or given back under its own owner and epoch. One that nobody wants any
more ends as ``StepCancelled`` as soon as nobody holds it. (test_tasks, test_takeover)

**Beside the runs.** Attempts, heartbeats, questions, updates, queries, attributes, published values,
streams, logs and blobs are rows of a run or workflow id, and go with it when it is purged. (the files of
these names)
"""
