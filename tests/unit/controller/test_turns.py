from typing import Any

from pdscaler.controller.evaluation import Rejection, ResourceKey
from pdscaler.controller.turns import Turns
from pdscaler.controller.worker import Job

A, B = ResourceKey("ns", "a"), ResourceKey("ns", "b")


def job(key: ResourceKey) -> Job:
    document: dict[str, Any] = {"metadata": {"namespace": key.namespace, "name": key.name}}
    return Job(document, Rejection(key, 1, 0.0, "InvalidSpec", ""), None)


def test_one_after_the_other_is_read_waits_and_is_evaluated() -> None:
    turns, mine = Turns(), job(A)
    assert not turns.pending
    turns.read([mine])
    assert turns.busy == {A}
    assert turns.wait([mine]) == [mine]
    assert turns.busy == frozenset()
    assert turns.pending == {A}
    assert turns.begin(mine, 10.0)
    assert turns.busy == {A}
    assert not turns.finish(mine)
    assert not turns.pending


def test_whoever_was_served_longest_ago_comes_first() -> None:
    turns, first, second = Turns(), job(A), job(B)
    assert turns.wait([second, first]) == [first, second]
    assert turns.begin(first, 10.0)
    assert not turns.finish(first)
    assert turns.wait([first, second]) == [second, first]
    turns.forget(A)
    assert turns.wait([second, first]) == [first, second]


def test_what_waits_is_evaluated_once_by_the_newer_reading() -> None:
    turns, old, new = Turns(), job(A), job(A)
    turns.wait([old])
    turns.read([new])
    turns.wait([new])
    assert not turns.begin(old, 10.0)
    assert turns.abandon([old]) == []
    assert turns.begin(new, 11.0)
    assert not turns.begin(new, 12.0), "not twice"
    assert not turns.finish(new)


def test_nothing_is_evaluated_twice_at_the_same_time_nor_lost() -> None:
    turns, old, new = Turns(), job(A), job(A)
    turns.wait([old])
    turns.read([new])
    assert turns.begin(old, 10.0)
    turns.wait([new])
    assert not turns.begin(new, 11.0)
    assert turns.abandon([new]) == [], "the older one is still under way"
    assert turns.finish(old), "due once more"
    assert not turns.pending


def test_a_change_is_looked_at_after_what_is_under_way() -> None:
    turns, mine = Turns(), job(A)
    turns.ask_again([A, B])
    turns.read([mine])
    turns.wait([mine])
    turns.ask_again([A])
    assert turns.begin(mine, 10.0)
    assert not turns.finish(mine), "what waits is simply asked for anew"
    turns.read([mine])
    turns.ask_again([A])
    assert turns.abandon([mine]) == [A]
    assert not turns.pending
