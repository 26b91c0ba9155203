"""What all models share: strict scalar types, durations, errors. May import only pydantic, units and errors.

Each type carries the JSON schema that the CRD needs (every string has a maxLength, every number a maximum), and each
rule stands once for pydantic and once for the API server (CEL), side by side.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pdscaler.errors import InvalidInputError
from pdscaler.units import DURATION_PATTERN, parse_duration

NOT_SUPPORTED_YET = "not_supported_yet"
INVALID = "invalid"
FROM_DOCUMENT: Final = "document"
"""Validation context of a document: durations must be written as strings there."""

MAX_REPLICAS = 1000
MAX_GPUS_PER_REPLICA = 1024
MAX_GPUS = 1_000_000
MAX_TOKENS = 10_000_000
MAX_KV_TOKENS = 100_000_000_000
MAX_BATCH = 100_000
MAX_POINTS = 512

Rule = dict[str, str]


class Model(BaseModel):
    """Base of the models: frozen, unknown fields refused, camelCase in documents, snake_case in Python."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        # Python code builds models by attribute names; documents are read with by_name=False (see parse).
        validate_by_name=True,
        validate_by_alias=True,
    )


def invalid(problem: str, *path: str | int) -> PydanticCustomError:
    """Return the error of a value that cannot be used; ``path`` leads from the model to the field."""
    return PydanticCustomError(INVALID, "{problem}", {"problem": problem, "path": list(path)})


def not_yet(problem: str, *path: str | int) -> PydanticCustomError:
    """Return the error of a value that the contract knows and this release does not implement."""
    return PydanticCustomError(NOT_SUPPORTED_YET, "{problem}", {"problem": problem, "path": list(path)})


def rule(expression: str, message: str, field_path: str = "") -> Rule:
    """Return one CEL rule for ``x-kubernetes-validations``; ``field_path`` such as ``.min.prefill`` names the field."""
    described: Rule = {"rule": expression, "message": message}
    return {**described, "fieldPath": field_path} if field_path else described


def rules(*entries: Rule) -> dict[str, Any]:
    """Return the ``json_schema_extra`` that adds CEL rules to a model or a field."""
    return {"x-kubernetes-validations": list(entries)}


def exact_duration(seconds: float) -> str:
    """Write seconds as a duration that reads back as the same value (to 12 significant digits).

    Examples
    --------
    >>> exact_duration(180.0), exact_duration(0.02), exact_duration(35.1824677), exact_duration(90.0)
    ('3m', '20ms', '35.1824677s', '90s')
    """
    if seconds == 0:
        return "0s"
    for scale, unit in ((3600.0, "h"), (60.0, "m")):
        if seconds % scale == 0:
            return f"{int(seconds // scale)}{unit}"
    for scale, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * scale >= 1:
            return _plain(seconds * scale) + unit
    return _plain(seconds * 1e6) + "us"


def _plain(number: float) -> str:
    """Write a number with the 12 significant digits that :func:`parse_duration` keeps, never in scientific notation."""
    return format(Decimal(f"{number:.12g}"), "f")


@dataclass(frozen=True, slots=True)
class DurationBetween:
    """Type annotation of a duration: a string such as ``20ms`` in documents, float seconds in Python.

    Parameters
    ----------
    low_s, high_s
        Bounds, seconds; both allowed.
    above
        ``low_s`` itself is not allowed.
    """

    low_s: float
    high_s: float
    above: bool = False

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        low = "more than" if self.above else "at least"
        return f"must be {low} {exact_duration(self.low_s)} and at most {exact_duration(self.high_s)}"

    def read(self, value: object, info: ValidationInfo) -> float:
        """Return the seconds of a duration as written (Python code may also pass seconds)."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and info.context is not FROM_DOCUMENT:
            seconds = float(value)
        else:
            try:
                seconds = parse_duration(value)
            except InvalidInputError as error:
                raise invalid(error.problem) from None
        if not self.low_s <= seconds <= self.high_s or (self.above and seconds == self.low_s):
            raise invalid(f"{value if isinstance(value, str) else exact_duration(seconds)} {self.bounds}")
        return seconds

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                exact_duration, return_schema=core_schema.str_schema()
            ),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        compare = ">" if self.above else ">="
        low, high = exact_duration(self.low_s), exact_duration(self.high_s)
        return {
            "type": "string",
            "maxLength": 32,
            "pattern": DURATION_PATTERN,
            **rules(
                rule(f"duration(self) {compare} duration('{low}') && duration(self) <= duration('{high}')", self.bounds)
            ),
        }


FORMS: dict[str, str] = {}
"""Pattern -> what it asks for, in words: nobody reads a regular expression in an error."""


def form(pattern: str, words: str) -> str:
    """Return a pattern whose violation is told in words."""
    FORMS[pattern] = words
    return pattern


Latency = Annotated[float, DurationBetween(0.0, 3600.0, above=True)]
"""A latency that is never zero, seconds."""
LatencyOrZero = Annotated[float, DurationBetween(0.0, 3600.0)]
"""A latency that may be zero, seconds."""

Text = Annotated[
    str,
    Field(
        strict=True, min_length=1, max_length=253, pattern=form(r"^[^\x00-\x1f\x7f]+$", "printable text on one line")
    ),
]
"""Printable text such as a model's name."""
ObjectName = Annotated[
    str,
    Field(
        strict=True,
        max_length=253,
        pattern=form(
            r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            "a Kubernetes name: lower-case letters, digits, - and .",
        ),
    ),
]
"""Name of a Kubernetes object (RFC 1123 subdomain)."""
Label = Annotated[
    str,
    Field(
        strict=True,
        max_length=63,
        pattern=form(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "lower-case letters, digits and -"),
    ),
]
"""Name of a namespace or of an endpoint (RFC 1123 label)."""
Tokens = Annotated[int, Field(strict=True, ge=1, le=MAX_TOKENS)]
"""A number of tokens."""
Replicas = Annotated[int, Field(strict=True, ge=1, le=MAX_REPLICAS)]
"""A number of replicas, at least one."""
