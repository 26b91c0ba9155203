"""``profile``: what one replica of a pool can do, as measured. May import only pydantic and base.

Points are keyed by what was measured (list-map keys in the CRD), so that the same point cannot stand twice.
"""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from pdscaler.api.base import (
    MAX_BATCH,
    MAX_KV_TOKENS,
    MAX_POINTS,
    Latency,
    LatencyOrZero,
    Model,
    ObjectName,
    Tokens,
    invalid,
    not_yet,
    rule,
    rules,
)
from pdscaler.api.unsupported import DECODE_PROFILES_AVAILABLE, PREFILL_PROFILES_AVAILABLE, message

_ONE_PREFILL = "exactly one of maxThroughput, points and profileRef is needed"
_ONE_DECODE = "exactly one of points and profileRef is needed"
_NO_PREFILL_REF = message("profileRef", PREFILL_PROFILES_AVAILABLE)
_NO_DECODE_REF = message("profileRef", DECODE_PROFILES_AVAILABLE)


def _list_map(*keys: str) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


class ProfileRef(Model):
    """Names a shared PDProfile in the same namespace."""

    name: ObjectName


class MaxThroughputSpec(Model):
    """The paper's profile: tokens per second of one replica at one prompt length, without idle time."""

    input_tokens: Tokens = Field(description="Prompt length of the benchmark, tokens.")
    tokens_per_second: Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)]


class PrefillPointSpec(Model):
    """One pass over one prompt on an idle engine."""

    input_tokens: Tokens
    latency_s: Latency = Field(alias="latency")


class OverheadSpec(Model):
    """Time to first token beyond queue and pass: KV transfer, network."""

    fixed_s: LatencyOrZero = Field(default=0.0, alias="fixed")
    per_thousand_tokens_s: LatencyOrZero = Field(default=0.0, alias="perThousandTokens")


class PrefillProfileSpec(Model):
    """Profile of one prefill replica."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.profileRef)", _NO_PREFILL_REF, ".profileRef"),
            rule(
                "[has(self.maxThroughput), has(self.points), has(self.profileRef)].exists_one(given, given)",
                _ONE_PREFILL,
            ),
        )
    )

    max_throughput: MaxThroughputSpec | None = None
    points: Annotated[tuple[PrefillPointSpec, ...], Field(min_length=2, max_length=MAX_POINTS)] | None = Field(
        default=None, description="A benchmark sweep.", json_schema_extra=_list_map("inputTokens")
    )
    profile_ref: ProfileRef | None = Field(default=None, description="Not supported yet: " + PREFILL_PROFILES_AVAILABLE)
    max_batched_tokens: Tokens = Field(default=8192, description="Token budget of one pass.")
    overhead: OverheadSpec = OverheadSpec()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.profile_ref is not None:
            raise not_yet(_NO_PREFILL_REF, "profileRef")
        if (self.max_throughput is None) == (self.points is None):
            raise invalid(_ONE_PREFILL)
        seen: set[int] = set()
        for index, point in enumerate(self.points or ()):
            if point.input_tokens in seen:
                raise invalid(f"inputTokens {point.input_tokens} stands twice: keep one point", "points", index)
            seen.add(point.input_tokens)
        return self


class DecodePointSpec(Model):
    """TPOT measured at a batch size and a context length."""

    context_tokens: Tokens
    batch: Annotated[int, Field(strict=True, ge=1, le=MAX_BATCH)]
    tpot_s: Latency = Field(alias="tpot")


class DecodeProfileSpec(Model):
    """Profile of one decode replica."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.profileRef)", _NO_DECODE_REF, ".profileRef"),
            rule("has(self.points) != has(self.profileRef)", _ONE_DECODE),
        )
    )

    points: Annotated[tuple[DecodePointSpec, ...], Field(min_length=2, max_length=MAX_POINTS)] | None = Field(
        default=None,
        description="TPOT against batch, at one or more context lengths.",
        json_schema_extra=_list_map("contextTokens", "batch"),
    )
    profile_ref: ProfileRef | None = Field(default=None, description="Not supported yet: " + DECODE_PROFILES_AVAILABLE)
    max_batch: Annotated[int, Field(strict=True, ge=1, le=MAX_BATCH)] = Field(
        default=256, description="Requests that one replica decodes at a time, at most."
    )
    kv_capacity_tokens: Annotated[int, Field(strict=True, ge=1, le=MAX_KV_TOKENS)] | None = Field(
        default=None, description="Tokens that the KV memory of one replica holds; left out: unlimited."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.profile_ref is not None:
            raise not_yet(_NO_DECODE_REF, "profileRef")
        if self.points is None:
            raise invalid(_ONE_DECODE)
        seen: set[tuple[int, int]] = set()
        for index, point in enumerate(self.points):
            key = (point.context_tokens, point.batch)
            if key in seen:
                raise invalid(f"contextTokens {key[0]}, batch {key[1]} stands twice: keep one point", "points", index)
            seen.add(key)
        return self
