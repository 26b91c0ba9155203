"""Values that the contract knows and this release does not implement: the one list of them. Imports base only.

Each stands once here, for pydantic and for the API server alike, so that a later release removes one line. The schema
accepts them, so that the answer is "not supported yet" and what to use instead, not "unknown value".
"""

from pdscaler.api.base import Rule, not_yet, rule

UNSUPPORTED_ENGINES = ("SGLang", "Dynamo")
ENGINES_AVAILABLE = "available: VLLM, LLMD, or a preset that the administrator defined"
PREFILL_PROFILES_AVAILABLE = "write maxThroughput or points here"
DECODE_PROFILES_AVAILABLE = "write points here"


def message(value: str, available: str) -> str:
    """Return the one sentence that every interface says."""
    return f"{value} is not supported yet ({available})"


def refuse_value(value: str, unsupported: tuple[str, ...], available: str) -> str:
    """Return ``value``.

    Raises
    ------
    PydanticCustomError
        If it is one that is not built yet; the document's error is then a NotSupportedYetError.
    """
    if value in unsupported:
        raise not_yet(message(value, available))
    return value


def value_rules(unsupported: tuple[str, ...], available: str) -> list[Rule]:
    """Return one CEL rule for each value that is not built yet."""
    return [rule(f"self != '{value}'", message(value, available)) for value in unsupported]
