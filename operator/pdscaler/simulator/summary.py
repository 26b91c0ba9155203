"""What an emulation came to, in words for people. May import core, units and this package."""

from collections.abc import Sequence

from pdscaler.core.slo import LatencyTarget
from pdscaler.simulator.emulator import Emulator
from pdscaler.simulator.statistics import Sample, attainment, bound_statistic, statistic_of
from pdscaler.units import format_duration


def summary(emulator: Emulator) -> tuple[str, list[tuple[str, ...]]]:
    """Return a line of totals, and the rows of a table: the headings, then one for each segment that was reached."""
    samples = emulator.samples
    arrived = sum(sample.arrivals for sample in samples)
    finished = sum(len(sample.outcomes) for sample in samples)
    elapsed_s = min(emulator.elapsed_s, emulator.load.duration_s)
    total = f"{arrived} requests in {format_duration(elapsed_s)}, {finished} finished, {emulator.in_flight} in flight"
    slo = emulator.model.slo
    heads = (f"TTFT {bound_statistic(slo.ttft).value}", f"TPOT {bound_statistic(slo.tpot).value}")
    rows: list[tuple[str, ...]] = [("phase", "arrivals", "finished", *heads, "SLO met")]
    for segment, sample in zip(emulator.load.segments, samples, strict=True):
        if not emulator.started or segment.begin_s > emulator.elapsed_s:
            continue
        latencies = (_against(sample.ttft_s, slo.ttft), _against(sample.tpot_s, slo.tpot))
        rows.append((segment.name, str(sample.arrivals), str(len(sample.outcomes)), *latencies, _share(sample)))
    return total, rows


def _against(values: Sequence[float], target: LatencyTarget | None) -> str:
    observed = format_duration(statistic_of(values, bound_statistic(target)))
    return observed if target is None else f"{observed}/{format_duration(target.target_s)}"


def _share(sample: Sample) -> str:
    shares = attainment(sample.outcomes)
    return "–" if shares is None else f"{100 * shares.joint:.1f} %"
