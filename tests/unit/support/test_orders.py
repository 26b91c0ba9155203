"""The judge of the kill runs must find what is wrong: each rule broken once, and nothing where nothing is."""

import pytest

from localplane.audit import AuditRequest
from pdscaler.core.pools import PerPool, Pool
from support.orders import Order, Phase, Rules, broken_rules, orders_of
from support.replicas import grants, outside_their_term, terms

RULES = Rules(bounds=PerPool((1, 6), (1, 10)), max_gpus=12, up=(2, 4.0), down=(2, 4.0), window_s=5.0, memory_s=10.0)
START = PerPool(2, 4)
LOW, HIGH = PerPool(1, 3), PerPool(6, 6)
P, D = Pool.PREFILL, Pool.DECODE


def judge(*orders: Order, phases: tuple[Phase, ...] = (Phase(0.0, HIGH),), start: PerPool[int] = START) -> list[str]:
    return broken_rules(orders, start, phases, RULES)


def test_a_rise_at_the_allowed_pace_is_fine() -> None:
    assert judge(Order(100.0, P, 4), Order(100.1, D, 6), Order(104.1, P, 6)) == []


def test_a_fall_after_the_window_at_the_allowed_pace_is_fine() -> None:
    phases = (Phase(0.0, HIGH), Phase(100.0, LOW))
    assert judge(Order(106.5, P, 4), Order(110.6, P, 2), phases=phases, start=PerPool(6, 6)) == []


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ((Order(100.0, P, 4), Order(101.0, P, 6)), "more than 2 up in 4s (from 2)"),
        ((Order(100.0, P, 5),), "more than 2 up in 4s (from 2)"),
        ((Order(100.0, D, 6), Order(105.0, D, 8)), "no load needs more than 6"),
        ((Order(100.0, P, 0),), "outside of 1 to 6"),
        ((Order(100.0, P, 2),), "changes nothing"),
        ((Order(100.0, D, 3),), "6 were needed within the window of 5s"),
    ],
)
def test_every_rule_is_found_broken(orders: tuple[Order, ...], words: str) -> None:
    assert [problem for problem in judge(*orders) if words in problem]


def test_the_budget_holds_at_every_instant_and_not_only_at_the_end() -> None:
    grow_first = (Order(100.0, D, 8), Order(100.2, P, 4))
    shrink_first = tuple(reversed([Order(100.2, D, 8), Order(100.0, P, 4)]))
    phases = (Phase(0.0, PerPool(4, 8)),)
    assert any("14 GPUs, of 12" in problem for problem in judge(*grow_first, phases=phases, start=PerPool(6, 6)))
    assert judge(*shrink_first, phases=phases, start=PerPool(6, 6)) == []


def test_a_burst_of_scale_down_is_found() -> None:
    phases = (Phase(0.0, HIGH), Phase(100.0, LOW))
    start = PerPool(6, 6)
    early = judge(Order(102.0, P, 4), phases=phases, start=start)
    assert any("within the window" in problem for problem in early)
    burst = judge(Order(120.0, P, 4), Order(120.3, P, 2), phases=phases, start=start)
    assert any("more than 2 down in 4s (from 6)" in problem for problem in burst)


def request(pod: str, at_s: float, **fields: object) -> AuditRequest:
    at = f"2026-11-21T12:00:{at_s:09.6f}Z"
    known = {"verb": "patch", "resource": "deployments/scale", "name": "tiny-prefill", "code": 200, "body": None}
    known |= fields
    return AuditRequest(
        *(at, "user", "pdscaler", str(known["verb"]), "", str(known["resource"]), "ns", str(known["name"])),
        code=int(str(known["code"])),
        uri="",
        done_at=f"2026-11-21T12:00:{at_s + 0.01:09.6f}Z",
        pod=pod,
        body=known["body"],  # type: ignore[arg-type]
    )


def lease(pod: str, at_s: float, holder: str | None = None, **fields: object) -> AuditRequest:
    body = {"spec": {"holderIdentity": f"{pod}_1" if holder is None else holder}}
    return request(pod, at_s, resource="leases", name="l", body=body, **fields)


def test_orders_are_read_with_their_counts_and_refused_ones_are_none() -> None:
    asked = [
        request("a", 2.0, body={"spec": {"replicas": 5}}),
        request("a", 1.0, body={"spec": {"replicas": 4}}, name="tiny-decode"),
        request("a", 3.0, body={"spec": {"replicas": 9}}, code=409),
        request("a", 4.0, resource="events"),
    ]
    found = orders_of(asked, {"tiny-prefill": P, "tiny-decode": D})
    assert [(order.pool, order.replicas) for order in found] == [(D, 4), (P, 5)]


def test_a_write_within_its_term_is_fine_and_every_other_one_is_found() -> None:
    log = [lease("a", 1.0), lease("a", 2.0), lease("b", 5.5), lease("a", 6.0, code=409), lease("b", 7.0)]
    fine = [request("a", 1.5), request("a", 4.9), request("b", 5.6), request("b", 9.9)]
    assert outside_their_term([*log, *fine], 3.0) == []
    for wrong in (
        request("a", 0.5),
        request("a", 5.2),
        request("a", 5.6),
        request("b", 5.4),
        request("b", 10.1),
        request("a", 5.6, resource="events", verb="create"),
        request("a", 5.6, code=409),
    ):
        assert [found["pod"] for found in outside_their_term([*log, wrong], 3.0)] == [wrong.pod], wrong


def test_terms_end_where_the_lease_ends_or_is_given_back() -> None:
    log = [lease("a", 1.0), lease("a", 2.0), lease("a", 3.0, holder=""), lease("b", 3.5), lease("a", 20.0)]
    found = [(pod, round(end_s - start_s, 2)) for pod, start_s, end_s in terms(grants(log, 3.0))]
    assert found == [("a", 1.99), ("b", 2.99), ("a", 2.99)]
