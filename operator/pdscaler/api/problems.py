"""One clear sentence for each way a document can be wrong. May import only pydantic, base and errors."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pdscaler.api.base import FORMS, INVALID, NOT_SUPPORTED_YET
from pdscaler.errors import InvalidInputError, NotSupportedYetError

_TYPES = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of sane size",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "finite_number": "a finite number",
}


def to_error(
    failure: ValidationError, model: type[BaseModel], source: str = "", prefix: Sequence[str] = ()
) -> InvalidInputError:
    """Turn pydantic's findings into one error: the first, and how many more there are.

    Parameters
    ----------
    failure
        What pydantic found.
    model
        The model that was read, to name the known fields.
    source
        File or object, for the error.
    prefix
        Path of the model within the document.
    """
    found = failure.errors(include_url=False)
    first = found[0]
    context = first.get("ctx") or {}
    kind = first["type"]
    location = (
        [*prefix, *first["loc"], *context.get("path", ())]
        if kind in (INVALID, NOT_SUPPORTED_YET)
        else [*prefix, *first["loc"]]
    )
    problem = _problem(kind, first.get("input"), context, list(first["loc"]), model)
    if len(found) > 1:
        problem += f" (and {len(found) - 1} more {'problem' if len(found) == 2 else 'problems'})"
    error = NotSupportedYetError if kind == NOT_SUPPORTED_YET else InvalidInputError
    return error(path_text(location), problem, source)


def path_text(path: Sequence[object]) -> str:
    """Write a path as people do: ``spec.prefill.profile.points[2].latency``."""
    text = ""
    for part in path:
        if part == "[key]":
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + show(part, quoted=False)
    return text


def show(value: object, *, quoted: bool = True) -> str:
    """Write a value into a message: short, on one line, printable."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = value if isinstance(value, str) else _number(value)
    text = text[:60].encode("unicode_escape").decode("ascii") + ("…" if len(text) > 60 else "")
    return f'"{text}"' if quoted and isinstance(value, str) else text


def _number(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a huge number"


def _problem(
    kind: str, value: object, context: Mapping[str, Any], location: list[int | str], model: type[BaseModel]
) -> str:
    if kind in (INVALID, NOT_SUPPORTED_YET):
        return str(context["problem"])
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _unknown_field(location, model)
    if kind in ("enum", "literal_error"):
        return f"{show(value)} is not one of {str(context['expected']).replace(chr(39), '').replace(' or ', ', ')}"
    if kind in _TYPES:
        return f"expected {_TYPES[kind]}, found {show(value)}"
    return _bounds(kind, value, context)


def _bounds(kind: str, value: object, context: Mapping[str, Any]) -> str:
    texts = {
        "greater_than_equal": "{value} is too small (at least {ge})",
        "greater_than": "{value} is too small (more than {gt})",
        "less_than_equal": "{value} is too large (at most {le})",
        "less_than": "{value} is too large (less than {lt})",
        "string_too_short": "must not be empty",
        "string_too_long": "is too long (at most {max_length} characters)",
        "too_short": "needs at least {min_length} entries",
        "too_long": "has too many entries (at most {max_length})",
        "string_pattern_mismatch": "{value} has a form that is not allowed here (expected {form})",
        "invalid_key": "keys must be strings",
        "string_unicode": "is not valid Unicode text",
    }
    if kind not in texts:
        return f"{show(value)} cannot be used ({kind.replace('_', ' ')})"
    limits = {key: f"{entry:g}" if isinstance(entry, float) else entry for key, entry in context.items()}
    expected = FORMS.get(str(context.get("pattern")), str(context.get("pattern")))
    return texts[kind].format(**{**limits, "value": show(value), "form": expected})


def _unknown_field(location: list[int | str], model: type[BaseModel]) -> str:
    holder = _model_at(location[:-1], model)
    if holder is None:
        return "is not a known field"
    known = [field.alias or name for name, field in holder.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), known, 1)
    if near:
        return f"is not a known field (did you mean {near[0]}?)"
    return f"is not a known field (known here: {', '.join(known)})"


def _model_at(path: Sequence[int | str], model: type[BaseModel]) -> type[BaseModel] | None:
    """Follow aliases to the model that holds a field; None where the path leaves the models."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is None or isinstance(part, int):
            continue
        field = next((f for name, f in current.model_fields.items() if part in (f.alias, name)), None)
        current = None if field is None else _model_in(field.annotation)
    return current


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = getattr(annotation, "__args__", ())
    return next((model for model in map(_model_in, arguments) if model is not None), None)
