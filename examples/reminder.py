"""A reminder that sleeps for days, and can be snoozed or stopped by signals meanwhile.

durable start examples/reminder.py --input text="water the plants" --input days=30 --id plants
durable worker examples/reminder.py
durable signal plants snooze 7
"""

from datetime import timedelta

from durable import Context, Signal, SignalTimeoutError, step, workflow

snooze = Signal("snooze", float)
done = Signal("done")


@step
async def remind(text: str) -> None:
    print(f"Reminder: {text}")


@workflow(messages=[snooze, done])
async def reminder(ctx: Context, text: str, days: float) -> int:
    """Remind every ``days`` until somebody says that it is done; returns how often."""
    finished = False

    @ctx.on(done)
    def _() -> None:
        nonlocal finished
        finished = True

    times = 0
    wait = timedelta(days=days)
    while True:
        try:
            wait = timedelta(days=await ctx.wait_signal(snooze, timeout=wait))
            continue
        except SignalTimeoutError:
            pass
        if finished:
            return times
        await ctx.step(remind, text)
        times += 1
        if ctx.info.continue_as_new_suggested:
            ctx.continue_as_new(text, days)
