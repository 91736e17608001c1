"""The next batch is made ready beside the step of this one."""

import threading

import pytest

from emotion.training.beside import beside


def test_order_is_kept_and_none_is_lost_or_done_twice():
    done = []

    def work(item):
        done.append(item)
        return 2 * item

    assert list(beside(range(50), work)) == [2 * item for item in range(50)]
    assert done == list(range(50))
    assert list(beside([], work)) == []


def test_answers_that_are_false_do_not_end_it():
    assert list(beside([1, 2, 3], lambda _: None)) == [None] * 3


def test_the_next_item_is_worked_on_while_this_one_is_used():
    started = {item: threading.Event() for item in range(3)}

    def work(item):
        started[item].set()
        return item

    for item in beside(range(3), work):
        following = started.get(item + 1)
        assert following is None or following.wait(timeout=60)  # while ``item`` is in use
        if item == 0:
            assert not started[2].is_set()  # one ahead and no more


def test_errors_of_the_work_and_of_the_items_arrive_where_they_are_used():
    def items():
        yield 1
        raise ValueError("no more items")

    results = beside(items(), lambda item: item)
    assert next(results) == 1
    with pytest.raises(ValueError, match="no more items"):
        next(results)
    with pytest.raises(ZeroDivisionError):
        list(beside([1, 0], lambda item: 1 // item))


def test_a_user_who_stops_early_leaves_no_thread():
    before = threading.active_count()
    results = beside(range(10), lambda item: item)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before
