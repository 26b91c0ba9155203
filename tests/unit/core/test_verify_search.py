"""The search for the least count: exact judges, noisy ones, undecided ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscaler.core.verify_search import Found, Verdict, least_count

MEETS, MISSES, UNDECIDED = Verdict.MEETS, Verdict.MISSES, Verdict.UNDECIDED


class Judge:
    """Lets counts from ``least`` on pass, and counts what it is asked."""

    def __init__(self, least: int, otherwise: dict[int, Verdict] | None = None) -> None:
        self.least = least
        self.otherwise = otherwise or {}
        self.asked: list[int] = []

    def __call__(self, count: int) -> Verdict:
        self.asked.append(count)
        return self.otherwise.get(count, MEETS if count >= self.least else MISSES)


@given(least=st.integers(1, 300), start=st.integers(-5, 400), high=st.integers(1, 300))
def test_finds_the_least_count_from_any_start(least: int, start: int, high: int) -> None:
    judge = Judge(least)
    found = least_count(judge, start, 1, high)
    assert found == Found(least if least <= high else None, settled=True)
    assert len(judge.asked) == len(set(judge.asked)), "a trial is costly: none twice"
    assert all(1 <= count <= high for count in judge.asked)


@pytest.mark.parametrize(("start", "most"), [(50, 2), (49, 3), (51, 3), (48, 4), (60, 9), (200, 18)])
def test_needs_few_trials_from_a_good_start(start: int, most: int) -> None:
    judge = Judge(50)
    least_count(judge, start, 1, 300)
    assert len(judge.asked) <= most


def test_one_replica_needs_no_proof_below() -> None:
    judge = Judge(1)
    assert least_count(judge, 1, 1, 10) == Found(1, settled=True)
    assert judge.asked == [1]


def test_an_undecided_count_counts_as_too_few() -> None:
    assert least_count(Judge(7, {6: UNDECIDED}), 7, 1, 20) == Found(7, settled=False)
    assert least_count(Judge(7, {7: UNDECIDED}), 7, 1, 20) == Found(8, settled=False)


def test_an_undecided_greatest_count_is_not_known_to_miss() -> None:
    assert least_count(Judge(30, {20: UNDECIDED}), 25, 1, 20) == Found(None, settled=False)
    assert least_count(Judge(30), 25, 1, 20) == Found(None, settled=True)


@given(start=st.integers(1, 100), noise=st.dictionaries(st.integers(36, 44), st.sampled_from(Verdict)))
def test_noise_around_the_border_moves_the_answer_no_further_than_the_noise(
    start: int, noise: dict[int, Verdict]
) -> None:
    found = least_count(Judge(40, noise), start, 1, 100)
    assert found.replicas is not None
    assert 36 <= found.replicas <= 45
    assert noise.get(found.replicas, MEETS if found.replicas >= 40 else MISSES) is MEETS
