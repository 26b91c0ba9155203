"""Label selectors: from an object's ``spec.selector``, or from the string that ``/scale`` reports.

Imports errors only.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pdscaler.errors import InvalidInputError


class Operator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GREATER = "Gt"
    LESS = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil this condition (a missing label fulfils NotIn, as in Kubernetes)."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.GREATER:
                return value is not None and _is_whole(value) and int(value) > int(self.values[0])
            case Operator.LESS:
                return value is not None and _is_whole(value) and int(value) < int(self.values[0])

    def __str__(self) -> str:
        match self.operator:
            case Operator.IN | Operator.NOT_IN:
                word = "in" if self.operator is Operator.IN else "notin"
                return f"{self.key} {word} ({','.join(self.values)})"
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.GREATER:
                return f"{self.key}>{self.values[0]}"
            case Operator.LESS:
                return f"{self.key}<{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions that must all hold. Without any it matches nothing: a target never owns every pod of a namespace."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return bool(self.requirements) and all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The (label, value) pairs that every selected object has: what an index can look up."""
        return tuple(
            (requirement.key, requirement.values[0])
            for requirement in self.requirements
            if requirement.operator is Operator.IN and len(requirement.values) == 1
        )

    def __str__(self) -> str:
        return ",".join(
            f"{item.key}={item.values[0]}" if item.operator is Operator.IN and len(item.values) == 1 else str(item)
            for item in self.requirements
        )


def selector_from_spec(selector: Mapping[str, Any]) -> Selector:
    """Read a ``LabelSelector`` object (``matchLabels``, ``matchExpressions``).

    Raises
    ------
    InvalidInputError
        If an expression has an unknown operator.
    """
    labels = selector.get("matchLabels") or {}
    requirements = [Requirement(str(key), Operator.IN, (str(value),)) for key, value in sorted(labels.items())]
    requirements += [
        _requirement(str(expression["key"]), str(expression["operator"]), expression.get("values") or ())
        for expression in selector.get("matchExpressions") or []
    ]
    return Selector(tuple(requirements))


def parse_label_selector(text: str) -> Selector:
    """Parse a selector string such as ``app=x,role in (a,b),!canary``: what ``/scale`` reports in ``status.selector``.

    Raises
    ------
    InvalidInputError
        If the text is not a label selector.

    Examples
    --------
    >>> str(parse_label_selector("app=decode, tier in (gpu,cpu),!canary"))
    'app=decode,tier in (cpu,gpu),!canary'
    """
    return Selector(tuple(_parse_requirement(part) for part in _split(text) if part))


_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"^(?P<key>{_LABEL})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)$")
_PAIR = re.compile(rf"^(?P<key>{_LABEL})\s*(?P<operator>==|=|!=|>|<)\s*(?P<value>[-A-Za-z0-9_.]*)$")
_PRESENCE = re.compile(rf"^(?P<absent>!?)\s*(?P<key>{_LABEL})$")
_WORDS = {"in": Operator.IN, "notin": Operator.NOT_IN, "=": Operator.IN, "==": Operator.IN, "!=": Operator.NOT_IN}
_ORDER = {">": Operator.GREATER, "<": Operator.LESS}


def _parse_requirement(text: str) -> Requirement:
    if found := _SET.match(text):
        values = tuple(sorted(value.strip() for value in found["values"].split(",")))
        return Requirement(found["key"], _WORDS[found["operator"]], values)
    if found := _PAIR.match(text):
        if found["operator"] in _ORDER:
            return _requirement(found["key"], _ORDER[found["operator"]], [found["value"]])
        return Requirement(found["key"], _WORDS[found["operator"]], (found["value"],))
    if found := _PRESENCE.match(text):
        return Requirement(found["key"], Operator.DOES_NOT_EXIST if found["absent"] else Operator.EXISTS)
    raise InvalidInputError(
        "selector", f"{_shown(text)} is not a label selector (write app=x, app in (x,y), app or !app)"
    )


def _requirement(key: str, operator: str, values: Sequence[object]) -> Requirement:
    try:
        known = Operator(operator)
    except ValueError:
        raise InvalidInputError("selector", f"unknown operator {_shown(operator)} for label {_shown(key)}") from None
    if known in (Operator.GREATER, Operator.LESS) and not (len(values) == 1 and _is_whole(str(values[0]))):
        raise InvalidInputError("selector", f"{known} of label {_shown(key)} needs one whole number")
    if known in (Operator.IN, Operator.NOT_IN) and not values:
        raise InvalidInputError("selector", f"{known} of label {_shown(key)} needs at least one value")
    return Requirement(key, known, tuple(sorted(str(value) for value in values)))


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside parentheses."""
    return [part.strip() for part in re.split(r",(?![^()]*\))", text)]


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,18}", text) is not None


def _shown(text: str) -> str:
    return '"' + text[:60].encode("unicode_escape").decode() + '"'
