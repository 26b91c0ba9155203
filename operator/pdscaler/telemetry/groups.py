"""Who shares a snapshot, and what those who share it need. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pdscaler.telemetry.endpoints import Endpoint
from pdscaler.telemetry.presets import Preset, Quantity
from pdscaler.telemetry.subject import Subject


@dataclass(frozen=True, slots=True)
class Group:
    """What one snapshot is for."""

    endpoint: Endpoint
    preset: str
    window_s: float


@dataclass(slots=True)
class Needs:
    """What the subjects of a group need beyond what all do.

    Parameters
    ----------
    labels
        Names of further labels to keep apart.
    percentiles
        Latencies whose buckets are needed.
    spoken_for
        What the front doors of all of them name themselves, so that engines are asked only if one is silent.
    """

    labels: set[str] = field(default_factory=set)
    percentiles: set[Quantity] = field(default_factory=set)
    spoken_for: frozenset[Quantity] = frozenset(Quantity)


def grouped(subjects: Iterable[Subject], presets: Mapping[str, Preset]) -> dict[Group, Needs]:
    """Return the groups of some subjects.

    Parameters
    ----------
    subjects
        Those that are read; their presets exist.
    presets
        The known presets by upper-case name.
    """
    groups: dict[Group, Needs] = {}
    for subject in subjects:
        engine, *doors = groups_of(subject)
        _add(groups.setdefault(engine, Needs()), subject, _spoken_for(subject, presets))
        for door in doors:
            _add(groups.setdefault(door, Needs()), subject, frozenset())
    return groups


def groups_of(subject: Subject) -> list[Group]:
    """Return the group of the engine's preset, then that of the front door's."""
    names = [subject.engine] + ([subject.front_door_preset] if subject.front_door_preset is not None else [])
    return [Group(subject.endpoint, name.upper(), subject.window_s) for name in names]


def _spoken_for(subject: Subject, presets: Mapping[str, Preset]) -> frozenset[Quantity]:
    if subject.front_door_preset is None:
        return frozenset()
    return presets[subject.front_door_preset.upper()].said_at_front_door


def _add(needs: Needs, subject: Subject, spoken_for: frozenset[Quantity]) -> None:
    needs.spoken_for &= spoken_for
    needs.labels.update(name for name, _ in subject.front_door_labels)
    if subject.pool_label:
        needs.labels.add(subject.pool_label)
    for quantity, target in ((Quantity.TTFT, subject.slo.ttft), (Quantity.TPOT, subject.slo.tpot)):
        if target is not None and target.statistic.quantile is not None:
            needs.percentiles.add(quantity)
