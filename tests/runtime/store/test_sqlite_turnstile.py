"""The lock between the writer, checkpoints and transactional steps."""

import threading

import pytest

from runtime.store.sqlite.turnstile import Turnstile


def test_turnstile_is_handed_on_in_order_of_arrival():
    turnstile = Turnstile()
    order: list[int] = []

    def work(number: int) -> None:
        with turnstile:
            order.append(number)

    turnstile.acquire()
    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        while len(turnstile._waiting) <= number:
            pass
    turnstile.release()
    turnstile.acquire()
    order.append(20)
    turnstile.release()
    for thread in threads:
        thread.join()
    assert order == list(range(21))


def test_turnstile_that_is_held_is_not_waited_for_without_blocking():
    turnstile = Turnstile()
    assert turnstile.acquire(blocking=False)
    assert not turnstile.acquire(blocking=False)
    turnstile.release()
    assert turnstile.acquire(blocking=False)


def test_turnstile_released_too_often_fails():
    turnstile = Turnstile()
    with pytest.raises(AssertionError):
        turnstile.release()


def test_turnstile_excludes():
    turnstile = Turnstile()
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(2_000):
            with turnstile:
                before = count
                count = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 8_000
