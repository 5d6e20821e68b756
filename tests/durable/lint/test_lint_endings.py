"""Handlers that swallow cancellation, and datetimes that name no instant."""

import pytest
from lint_case import assert_case

WRONG = {
    "bare except": """
        ---
        try:
            await ctx.sleep(1)
        except:  # !DURL501
            pass
    """,
    "BaseException": """
        ---
        try:
            await ctx.sleep(1)
        except BaseException as error:  # !DURL501
            ctx.log.info("%s", error)
    """,
    "one of several": """
        ---
        try:
            await ctx.sleep(1)
        except (ValueError, BaseException):  # !DURL501
            pass
    """,
    "CancelledError": """
        import asyncio
        ---
        try:
            await ctx.sleep(1)
        except asyncio.CancelledError:  # !DURL502
            return "cancelled"
    """,
    "CancelledError by name": """
        from asyncio import CancelledError
        ---
        try:
            await ctx.sleep(1)
        except (CancelledError, ValueError):  # !DURL502
            pass
    """,
    "class of anyio": """
        import anyio
        ---
        try:
            await ctx.sleep(1)
        except anyio.get_cancelled_exc_class():  # !DURL502
            pass
    """,
    "suppress": """
        import asyncio
        from contextlib import suppress
        ---
        with suppress(asyncio.CancelledError):  # !DURL502
            await ctx.sleep(1)
        with suppress(BaseException):  # !DURL501
            await ctx.sleep(1)
    """,
    "around an async for": """
        ---
        try:
            async for _ in ctx.signals(ctx.info.signal):
                pass
        except:  # !DURL501
            pass
    """,
    "in a helper": """
        async def pay(ctx):
            try:
                await ctx.sleep(1)
            except BaseException:  # !DURL501
                pass
        ---
        await pay(ctx)
    """,
    "return in a finally": """
        ---
        try:
            await ctx.sleep(1)
        finally:
            return 1  # !DURL503
    """,
    "break in a finally": """
        ---
        while True:
            try:
                await ctx.sleep(1)
            finally:
                break  # !DURL503
    """,
    "raise of a function within": """
        ---
        try:
            await ctx.sleep(1)
        except BaseException:  # !DURL501
            def fail():
                raise ValueError
    """,
    "naive instant": """
        from datetime import datetime
        ---
        await ctx.sleep_until(datetime(2030, 1, 1))  # !DURL601
    """,
    "naive instant in a variable": """
        import datetime as dt
        ---
        when = dt.datetime(2030, 1, 1) + dt.timedelta(days=1)
        await ctx.sleep_until(when)  # !DURL601
    """,
    "parsed instant": """
        from datetime import datetime
        ---
        await ctx.sleep_until(datetime.strptime("2030", "%Y"))  # !DURL601
    """,
    "utcnow": """
        from datetime import datetime
        ---
        await ctx.sleep_until(datetime.utcnow())  # !DURL101 DURL601
    """,
    "combined instant": """
        from datetime import date, datetime, time
        ---
        await ctx.sleep_until(datetime.combine(date(2030, 1, 1), time(9)))  # !DURL601
    """,
    "zone taken away": """
        ---
        ctx.now().replace(tzinfo=None)  # !DURL601
    """,
    "held against now": """
        from datetime import datetime
        ---
        if ctx.now() > datetime(2030, 1, 1):  # !DURL601
            return ctx.now() - datetime(2030, 1, 1)  # !DURL601
    """,
    "zone of the machine": """
        from datetime import date, datetime
        ---
        datetime.fromtimestamp(0)  # !DURL602
        date.fromtimestamp(0)  # !DURL602
        ctx.now().astimezone()  # !DURL602
    """,
    "naive from a timestamp": """
        from datetime import datetime
        ---
        datetime.utcfromtimestamp(0)  # !DURL601
    """,
}

FINE = {
    "Exception": """
        ---
        try:
            await ctx.sleep(1)
        except Exception:
            pass
    """,
    "raised again": """
        import asyncio
        ---
        try:
            await ctx.sleep(1)
        except asyncio.CancelledError:
            ctx.log.info("cancelled")
            raise
        except BaseException as error:
            raise ValueError from error
    """,
    "raised before": """
        import asyncio
        ---
        try:
            await ctx.sleep(1)
        except asyncio.CancelledError:
            raise
        except BaseException:
            pass
    """,
    "nothing awaited": """
        ---
        try:
            int("a")
        except BaseException:
            pass
    """,
    "awaited by a function within": """
        ---
        try:
            async def wait():
                await ctx.sleep(1)
        except BaseException:
            pass
        await wait()
    """,
    "awaited in the handler": """
        ---
        try:
            int("a")
        except BaseException:
            await ctx.sleep(1)
    """,
    "finally that ends by itself": """
        ---
        try:
            await ctx.sleep(1)
        finally:
            for number in range(3):
                if number:
                    break
                continue
            ctx.log.info("done")
    """,
    "suppress of something else": """
        from contextlib import suppress
        ---
        with suppress(ValueError, TimeoutError):
            await ctx.sleep(1)
    """,
    "in a step": """
        import asyncio
        @step
        async def charge():
            try:
                await asyncio.sleep(1)
            except BaseException:
                pass
        ---
        await ctx.step(charge)
    """,
    "another CancelledError": """
        class CancelledError(Exception): ...
        ---
        try:
            await ctx.sleep(1)
        except CancelledError:
            pass
    """,
    "aware instant": """
        from datetime import UTC, datetime, timezone
        from zoneinfo import ZoneInfo
        ---
        await ctx.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
        await ctx.sleep_until(datetime(2030, 1, 1, 0, 0, 0, 0, timezone.utc))
        await ctx.sleep_until(datetime(2030, 1, 1).replace(tzinfo=ZoneInfo("Europe/Paris")))
        await ctx.sleep_until(datetime(2030, 1, 1).astimezone(UTC))
    """,
    "instant of the context": """
        from datetime import timedelta
        ---
        await ctx.sleep_until(ctx.now() + timedelta(days=1))
        await ctx.sleep_until(ctx.now().replace(hour=9))
    """,
    "instant that is passed in": """
        from datetime import datetime
        @workflow
        async def deploy(ctx: Context, when: datetime) -> None:
            await ctx.sleep_until(when)
            if when < ctx.now():
                return
    """,
    "instant that nothing is known of": """
        from datetime import datetime
        when = again
        again = when
        ---
        await ctx.sleep_until(ctx.info.deadline)
        await ctx.sleep_until(datetime(*ctx.info.parts))
        await ctx.sleep_until(when)
    """,
    "naive datetime that is only data": """
        from datetime import datetime
        ---
        return datetime(2030, 1, 1).isoformat()
    """,
    "parsed with a zone": """
        from datetime import UTC, datetime, date, time
        ---
        await ctx.sleep_until(datetime.strptime("2030 +0000", "%Y %z"))
        await ctx.sleep_until(datetime.fromisoformat("2030-01-01T00:00:00+00:00"))
        await ctx.sleep_until(datetime.combine(date(2030, 1, 1), time(9, tzinfo=UTC)))
        await ctx.sleep_until(datetime.combine(date(2030, 1, 1), time(9), UTC))
        datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(0, tz=UTC)
    """,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_mistake_is_found(text):
    assert_case(text)


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_right_code_is_left_alone(text):
    assert_case(text)
