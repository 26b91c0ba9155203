import pytest

from pdscaler.core.histogram import Bucket
from pdscaler.telemetry.presets import MetricType, Names, Preset, Quantity, Source, load_presets
from pdscaler.telemetry.queries import Kind
from pdscaler.telemetry.reader import Sample
from pdscaler.telemetry.snapshot import Entry, Snapshot, build_table

LLMD: Preset = load_presets(None)["LLMD"]
NAMES = Names(type=MetricType.COUNTER, source=Source.FRONT_DOOR, metrics=("new_total", "old_total"))


def sample(value: float, series: str = "new_total/rate", **labels: str) -> Sample:
    return Sample({"namespace": "ns", "pdscaler_series": series, **labels}, value)


def entries(*samples: Sample, kind: Kind = Kind.RATE) -> list[Entry]:
    return list(build_table(samples, NAMES, LLMD, kind).entries)


def test_the_first_alternative_counts_for_each_pod() -> None:
    found = entries(
        sample(1.0, pod="a"), sample(10.0, "old_total/rate", pod="a"), sample(2.0, "old_total/rate", pod="b")
    )
    assert {(e.labels["pod"], e.metric, e.parts["rate"]) for e in found} == {
        ("a", "new_total", 1.0),
        ("b", "old_total", 2.0),
    }


def test_two_jobs_count_a_pod_once_and_two_doors_without_pods_both() -> None:
    once = entries(sample(4.0, pod="a", job="x"), sample(5.0, pod="a", job="y"))
    assert [(e.labels["job"], e.parts["rate"]) for e in once] == [("y", 5.0)]
    both = entries(sample(4.0, job="x"), sample(5.0, job="y"))
    assert sorted(e.parts["rate"] for e in both) == [4.0, 5.0]


def test_matching_on_the_job_keeps_a_pod_single() -> None:
    samples = [sample(4.0, pod="a", job="x"), sample(5.0, pod="a", job="y")]
    table = build_table(samples, NAMES, LLMD, Kind.RATE, {"job", "role"})
    assert [(e.labels["job"], e.parts["rate"]) for e in table.entries] == [("y", 5.0)]


def test_the_first_model_label_that_is_not_empty() -> None:
    found = entries(
        sample(1.0, pod="a", model_name="alias", target_model_name="real"),
        sample(1.0, pod="b", model_name="only", target_model_name=""),
        sample(1.0, pod="c"),
    )
    assert [e.model for e in found] == ["real", "only", ""]


def test_buckets_are_read_by_number() -> None:
    found = entries(
        sample(1.0, "new_total/buckets", pod="a", le="1"),
        sample(2.0, "new_total/buckets", pod="a", le="2.0"),
        sample(5.0, "new_total/buckets", pod="a", le="+Inf"),
        sample(9.0, "new_total/buckets", pod="a", le="strange"),
        sample(float("nan"), "new_total/buckets", pod="a", le="3"),
        kind=Kind.BUCKETS,
    )
    assert found[0].buckets == (Bucket(0, 1, 1), Bucket(1, 2, 1), Bucket(2, float("inf"), 3))


def test_what_was_not_asked_for_is_left_out() -> None:
    assert entries(sample(1.0, "other/rate", pod="a"), Sample({"namespace": "ns"}, 1.0)) == []


def test_entries_are_found_by_namespace_and_pod() -> None:
    table = build_table([sample(1.0, pod="a"), sample(2.0, pod="b")], NAMES, LLMD, Kind.RATE)
    assert [e.parts["rate"] for e in table.by_pod[("ns", "b")]] == [2.0]
    assert len(list(table.entries.of("ns"))) == 2


@pytest.mark.parametrize("quantity", list(Quantity))
def test_a_snapshot_answers_nothing_that_was_not_asked(quantity: Quantity) -> None:
    assert list(Snapshot(LLMD, 0.0, 1.0, {}).table(quantity, Kind.NOW).entries) == []
