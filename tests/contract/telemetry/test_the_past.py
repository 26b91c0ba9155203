"""What the history reader gets of a real Prometheus: owners of gone pods, gaps, pieces, renamed metrics."""

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from pdscaler.core.workload import Telemetry
from pdscaler.forecast import History, aligned
from pdscaler.telemetry import past
from pdscaler.telemetry.collector import Collector
from pdscaler.telemetry.past import PastReader, Want
from pdscaler.telemetry.presets import load_presets
from pdscaler.telemetry.subject import Subject
from support.subjects import subject

pytestmark = pytest.mark.prometheus
ASKED = ("steady", "young", "idle", "front doors", "pasts")


@pytest.fixture
async def reader() -> AsyncIterator[PastReader]:
    made = PastReader(load_presets(None))
    yield made
    made.close()


def want(of: Subject, span_s: float = 600.0, step_s: float = 15.0, **changes: float) -> Want:
    fields = {"since_s": 0.0, "window_s": 60.0, **changes}
    return Want(of, span_s, fields["since_s"], fields["window_s"], step_s)


async def read(reader: PastReader, wanted: Want) -> History:
    found = (await reader.read([wanted], 10.0))[wanted.subject.key]
    assert isinstance(found, History), found
    return found


async def test_pods_that_are_gone_count_by_what_made_them(reader: PastReader, history_url: str) -> None:
    mine = subject(history_url, "past", ["llm-prefill-84bc6b79b-k8k9k"], ["llm-decode-0"])
    found = await read(reader, want(mine))
    assert (found.step_s, found.window_s, len(found)) == (15.0, 60.0, 40)
    assert found.end_s == pytest.approx(aligned(time.time(), 15.0), abs=16)
    rates = found.rate_rps
    assert not np.isnan(rates).any()
    # Not 90 more of another Deployment whose name begins alike, and not twice what two jobs scrape.
    assert np.median(rates) == pytest.approx(5.0, rel=0.02)
    assert rates.max() < 5.5
    assert found.values[1] == pytest.approx(3000.0, rel=1e-6)
    assert found.values[3] == pytest.approx(400.0, rel=1e-6)


async def test_a_gap_is_a_gap_and_not_less_load(reader: PastReader, history_url: str) -> None:
    door = subject(history_url, "past-gap", front_door_preset="LLMD")
    found = await read(reader, want(door, span_s=840.0))
    unknown = np.isnan(found.rate_rps)
    # Five minutes without samples, less the last window with some, plus the first window that is not full.
    assert 270 <= 15 * unknown.sum() <= 390
    # The last window before a gap has fewer samples: its rate may fall short for a minute, never afterwards.
    first, last = np.flatnonzero(unknown)[[0, -1]]
    assert found.rate_rps[last + 1 :] == pytest.approx(8.0, rel=0.01)
    assert found.rate_rps[: max(0, first - 4)] == pytest.approx(8.0, rel=0.01)
    assert found.coverage(120.0) == 1.0
    assert found.coverage(840.0) < 0.75


async def test_pieces_and_later_samples_are_the_same_history(
    reader: PastReader, history_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = subject(history_url, "door", front_door_preset="LLMD")
    whole = await read(reader, want(door))
    monkeypatch.setattr(past, "POINTS_AT_ONCE", 7)
    pieces = await read(reader, want(door))
    assert pieces.until(whole.end_s).values[:, -30:] == pytest.approx(whole.values[:, -30:], nan_ok=True)
    begun = whole.until(whole.end_s - 120.0)
    newer = await read(reader, want(door, since_s=begun.end_s))
    assert len(newer) == round((newer.end_s - begun.end_s) / 15.0)
    joined = begun.extended(newer).until(whole.end_s)
    assert joined.values == pytest.approx(whole.values, nan_ok=True)
    assert len(await read(reader, want(door, since_s=time.time() + 60.0))) == 0


@pytest.mark.parametrize("namespace", ["door", "door-both", "door-mixed"])
async def test_a_renamed_metric_counts_once(reader: PastReader, history_url: str, namespace: str) -> None:
    found = await read(reader, want(subject(history_url, namespace, front_door_preset="LLMD")))
    assert found.rate_rps[-10:] == pytest.approx(8.0, rel=0.01)


async def test_the_number_of_queries_does_not_depend_on_the_subjects(reader: PastReader, history_url: str) -> None:
    await reader.read([want(subject(history_url, "steady"))], 10.0)
    once = reader.queries_sent
    spaces = ("steady", "elsewhere", "past", "idle", "door", "young")
    found = await reader.read([want(subject(history_url, namespace)) for namespace in spaces], 10.0)
    assert reader.queries_sent == 2 * once
    assert {key[0] for key, value in found.items() if isinstance(value, History)} == set(spaces)


async def test_an_endpoint_that_does_not_answer_says_so(reader: PastReader) -> None:
    dead = subject("http://127.0.0.1:9", "ns")
    found = await reader.read([want(dead)], 5.0)
    assert found == {dead.key: 'endpoint "default" cannot be reached, or cut the connection'}


async def test_the_reading_of_now_tells_how_often_is_scraped(collector: Collector, history_url: str) -> None:
    own = subject(history_url, "steady")
    found = (await asyncio.wait_for(collector.collect([own]), 10.0))[own.key]
    assert isinstance(found, Telemetry)
    assert found.scrape_interval_s == pytest.approx(5.0, rel=0.05)
