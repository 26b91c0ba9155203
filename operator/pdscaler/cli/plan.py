"""``pdscaler plan``: size once, offline. May import click, api, core, units and cli."""

from pathlib import Path
from typing import Any

import click

from pdscaler.api.convert import to_sizing_spec
from pdscaler.api.parse import load_pddeployment
from pdscaler.cli.output import emit, output_option, terminal_width
from pdscaler.cli.planplot import check_plot, draw_plan
from pdscaler.cli.plantable import plan_table
from pdscaler.cli.traceplan import plan_load
from pdscaler.cli.workload import load_of, workload_options
from pdscaler.core.decision import PoolSizing, Prediction, SizingResult
from pdscaler.core.pools import PerPool
from pdscaler.core.sizing import NextChange, next_changes
from pdscaler.core.slo import LatencyStatistics
from pdscaler.core.spec import SizingModel
from pdscaler.core.verification import UNCORRECTED, Verification
from pdscaler.errors import InvalidInputError

SLO_CANNOT_BE_MET = 3


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), required=True, help="YAML file with the PDDeployment.")
@workload_options
@click.option(
    "--verify/--no-verify",
    "verified",
    default=None,
    help="Settle the counts by simulation; the default for model Auto (PaperMM1 is a formula, and not simulated).",
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the plan, a PNG or SVG.")
@output_option
@click.pass_context
def plan(
    ctx: click.Context, /, file: Path, output: str, verified: bool | None, plot: Path | None, **workload: Any
) -> None:
    """Size both pools for a workload, without any cluster.

    Give --arrival-rate, --input-tokens and --output-tokens, or a --trace. Exit status: 0 done, 2 bad input, 3 done but
    the objectives cannot be met.
    """
    if plot is not None:
        check_plot(plot)
    load = load_of(workload)
    resource = load_pddeployment(file)
    spec = to_sizing_spec(resource)
    if verified is None:
        verified = spec.model is SizingModel.AUTO
    try:
        result, how = plan_load(spec, load, verified)
    except InvalidInputError as error:
        # What only the core checks is a field of the file too; a figure's own name says where it was given.
        raise error.with_source(str(file)) if error.field.startswith("spec.") else error from None
    corrections = UNCORRECTED if result.verification is None else result.verification.corrections
    changes = next_changes(spec, load.workload, result, corrections)
    notes = (*load.notes, *how, *_model_notes(spec.model, workload), *result.warnings)
    document = plan_document(resource.metadata.name, result, changes, notes)
    emit(document, output, lambda: plan_table(spec, load.workload, result, changes, notes, width=terminal_width()))
    if plot is not None:
        draw_plan(plot, spec, load.workload, result)
    if not result.feasible:
        ctx.exit(SLO_CANNOT_BE_MET)


def plan_document(
    name: str, result: SizingResult, changes: PerPool[NextChange], notes: tuple[str, ...]
) -> dict[str, object]:
    """Return the answer as the JSON document of DESIGN section 5."""
    return {
        "name": name,
        "feasible": result.feasible,
        "label": result.label,
        "gpus": result.gpus,
        "limitedBy": [limit.value for limit in result.limited_by],
        "prefill": _pool(result.pools.prefill),
        "decode": _pool(result.pools.decode),
        "predicted": _prediction(result.predicted),
        "whatIf": [
            {
                "prefill": other.prefill,
                "decode": other.decode,
                "gpus": other.gpus,
                "feasible": other.feasible,
                "predicted": _prediction(other.predicted),
            }
            for other in result.what_if
        ],
        "served_rps": result.served_rps,
        **_verification(result.verification),
        "nextChange": {pool.value: _change(change) for pool, change in changes.items()},
        "infeasibleReason": result.infeasible_reason or None,
        "warnings": list(notes),
    }


def _verification(verification: Verification | None) -> dict[str, object]:
    if verification is None:
        return {"verified": False, "margin": {"ttft": None, "tpot": None}, "simulatedRequests": 0, "verification": None}
    return {
        "verified": verification.verified,
        "margin": {"ttft": verification.margins.prefill, "tpot": verification.margins.decode},
        "simulatedRequests": verification.requests,
        "verification": verification.note,
    }


def _pool(pool: PoolSizing) -> dict[str, object]:
    return {
        "replicas": pool.replicas,
        "required": pool.required,
        "utilization": pool.utilization,
        "capacity_rps": pool.capacity_rps,
        "binding": pool.binding.value,
        "recommended": pool.recommended,
        "limitedBy": [limit.value for limit in pool.limited_by],
        "explanation": pool.explanation,
    }


def _prediction(predicted: Prediction) -> dict[str, object]:
    return {"ttft_s": _statistics(predicted.ttft_s), "tpot_s": _statistics(predicted.tpot_s)}


def _statistics(latency: LatencyStatistics) -> dict[str, float | None]:
    return {"mean": latency.mean, "p50": latency.p50, "p90": latency.p90, "p95": latency.p95, "p99": latency.p99}


def _change(change: NextChange) -> dict[str, float | int | None]:
    return {
        "above_rps": change.up_rps,
        "above_replicas": change.up_replicas,
        "below_rps": change.down_rps,
        "below_replicas": change.down_replicas,
    }


def _model_notes(model: SizingModel, workload: dict[str, Any]) -> tuple[str, ...]:
    """Say which given figures the model does not use: nothing that a user states is ignored in silence."""
    if model is not SizingModel.PAPER_MM1:
        return ()
    names = ("input_tokens_scv", "output_tokens_scv", "arrival_scv")
    given = ["--" + name.replace("_", "-") for name in names if workload[name] is not None]
    if not given:
        return ()
    return (f"{', '.join(given)}: the model PaperMM1 uses mean lengths and Poisson arrivals",)
