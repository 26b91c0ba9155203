"""What the demo plays: its own phases, or a recorded trace on a measured profile. Imports PyYAML and the operator."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from localplane.demo_ahead import planned_for, steps_of
from localplane.demo_stack import REPOSITORY
from localplane.demo_types import PhasePlan, Scenario
from localplane.errors import LocalPlaneError
from pdscaler.api.convert import to_scaling_spec
from pdscaler.api.parse import load_pddeployment
from pdscaler.core.curves import decode_surface, prefill_curve
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import ScalingSpec
from pdscaler.core.workload import WorkloadStats
from pdscaler.profiler.measured import load_measured_profile
from pdscaler.simulator.traces import read_trace, scale_trace, trace_workload
from pdscaler.simulator.workload import Phase, read_phases
from pdscaler.units import format_duration, format_number

SAMPLES = REPOSITORY / "deploy" / "samples"
TRACE_WINDOW_S = 20.0
"""Rate window of the operator where a trace is played, seconds: recorded lengths vary more than the samples' do."""
DECODE_DERATE = 0.9
"""The paper's model over-predicts decode by a tenth (3P4D measured against planned): real lengths need that room."""

FORESEEN_FROM = "dawn"
"""The phase at whose begin the PDDeployment is told to look ahead: it and those after it must be met ahead."""

_TTFT_PASSES = 5.0
_TPOT_ROOM = 1.5


def scenario_of_phases() -> Scenario:
    """Return the demo's own scenario: the samples of ``deploy/samples``."""
    path = SAMPLES / "phases.yaml"
    phases = read_phases(path)
    return _scenario(
        "a day in three and a half minutes",
        SAMPLES / "pddeployment.yaml",
        SAMPLES / "targets.yaml",
        load=("--phases", str(path)),
        phases=phases,
        duration_s=sum(phase.duration_s for phase in phases),
    )


def scenario_of_trace(trace: Path, profile: Path, duration_s: float, rate_scale: float, out: Path) -> Scenario:
    """Return a scenario that plays the start of a trace on a measured profile.

    The PDDeployment and the targets are the samples', with the measured profile and with targets that fit it: TTFT
    five idle passes over a prompt of the trace's mean length, TPOT one and a half times that of a lone request.

    Parameters
    ----------
    trace, profile
        Files of DESIGN section 5, and of :mod:`pdscaler.profiler.measured`.
    duration_s, rate_scale
        How much of it, and how many times its rate.
    out
        Folder for the two files that are written.
    """
    played = scale_trace(read_trace(trace), rate_scale, np.random.default_rng(0)).until(duration_s)
    if len(played) < 2:
        raise LocalPlaneError(f"{trace}: fewer than two requests arrive in the first {duration_s:g} seconds")
    workload = trace_workload(played)
    resource = out / "pddeployment.yaml"
    document = yaml.safe_load((SAMPLES / "pddeployment.yaml").read_text(encoding="utf-8"))
    gpus = _put_profile(document["spec"], profile)
    document["spec"]["sizing"] = {"model": "PaperMM1", "decodeDerate": DECODE_DERATE}
    document["spec"]["metrics"]["window"] = f"{TRACE_WINDOW_S:g}s"
    for latency in ("ttft", "tpot"):
        # Placeholders: what fits is computed from the profile as the core reads it.
        document["spec"]["slo"][latency] = {"target": "1h"}
    resource.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    ttft_s, tpot_s = _fitting_targets(to_scaling_spec(load_pddeployment(resource)), workload)
    document["spec"]["slo"] = {"ttft": {"target": _written(ttft_s)}, "tpot": {"target": _written(tpot_s)}}
    resource.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    targets = out / "targets.yaml"
    targets.write_text(_targets_with(gpus), encoding="utf-8")
    scale = f" × {format_number(rate_scale)}" if rate_scale != 1 else ""
    title = f"{trace.name}{scale} on {profile.stem}"
    load = ("--trace", str(trace), "--rate-scale", f"{rate_scale!r}", "--duration", f"{duration_s:g}s")
    return _scenario(title, resource, targets, load=load, phases=(), duration_s=duration_s)


def _scenario(
    title: str,
    resource: Path,
    targets: Path,
    *,
    load: tuple[str, ...],
    phases: tuple[Phase, ...],
    duration_s: float,
) -> Scenario:
    loaded = load_pddeployment(resource)
    spec = to_scaling_spec(loaded)
    return Scenario(
        title=title,
        resource=resource,
        targets=targets,
        load=load,
        phases=plan_phases(spec, phases),
        duration_s=duration_s,
        spec=spec,
        namespace=loaded.metadata.namespace or "default",
        name=loaded.metadata.name,
        target_names=PerPool(loaded.spec.prefill.scale_target_ref.name, loaded.spec.decode.scale_target_ref.name),
        day=phases,
        model=loaded.spec.model,
    )


def plan_phases(spec: ScalingSpec, phases: tuple[Phase, ...]) -> tuple[PhasePlan, ...]:
    """Ask the model what each phase's nominal load needs."""
    plans, begin_s, foreseen = [], 0.0, False
    for phase, after in itertools.zip_longest(phases, phases[1:]):
        foreseen = foreseen or phase.name == FORESEEN_FROM
        plans.append(
            PhasePlan(
                name=phase.name,
                begin_s=begin_s,
                end_s=begin_s + phase.duration_s,
                arrival_rate_rps=phase.arrival_rate_rps,
                input_tokens=phase.isl.mean_tokens,
                output_tokens=phase.osl.mean_tokens,
                planned=planned_for(spec.sizing, phase, phase.duration_s),
                arrival_rate_end_rps=phase.arrival_rate_end_rps,
                steps=() if phase.arrival_rate_end_rps is None else steps_of(spec.sizing, phase, begin_s),
                foreseen=foreseen,
                ahead=None if after is None else planned_for(spec.sizing, after, after.duration_s),
            )
        )
        begin_s += phase.duration_s
    return tuple(plans)


def _put_profile(spec: dict[str, Any], path: Path) -> PerPool[int]:
    measured = load_measured_profile(path)
    kept = spec["prefill"]["profile"]
    spec["prefill"]["profile"] = {
        **measured.prefill,
        **{key: kept[key] for key in ("maxBatchedTokens", "overhead") if key in kept},
    }
    spec["decode"]["profile"] = measured.decode
    for pool, gpus in measured.gpus_per_replica.items():
        spec[pool.value]["gpusPerReplica"] = gpus
        spec[pool.value]["maxReplicas"] = 24
    return measured.gpus_per_replica


def _fitting_targets(spec: ScalingSpec, workload: WorkloadStats) -> tuple[float, float]:
    assert workload.isl is not None
    assert workload.osl is not None
    curve = prefill_curve(spec.sizing.prefill_profile)
    input_tokens = workload.isl.mean_tokens
    ttft_s = _TTFT_PASSES * curve.time_s(input_tokens) + curve.overhead_s(input_tokens)
    context = input_tokens + workload.osl.mean_tokens / 2
    alone_s = decode_surface(spec.sizing.decode_profile).step_time_s(1.0, context)
    return ttft_s, _TPOT_ROOM * alone_s


def _written(seconds: float) -> str:
    """Write a target with two significant digits, rounded up."""
    digits = 1 - math.floor(math.log10(seconds))
    return format_duration(math.ceil(seconds * 10**digits) / 10**digits, 2)


def _targets_with(gpus: PerPool[int]) -> str:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((SAMPLES / "targets.yaml").read_text(encoding="utf-8")))
    for document in documents:
        for pool, count in gpus.items():
            if document["kind"] == "Deployment" and document["spec"]["selector"]["matchLabels"]["role"] == pool.value:
                _limits(document)["nvidia.com/gpu"] = str(count)
    return str(yaml.safe_dump_all(documents, sort_keys=False))


def _limits(deployment: Mapping[str, Any]) -> dict[str, str]:
    limits: dict[str, str] = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    return limits
