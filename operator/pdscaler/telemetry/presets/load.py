"""Reads preset files: those of the package and the administrator's. Imports pydantic, the API's YAML reader, errors."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pdscaler.api.yamlfile import parse_yaml, read_yaml_documents
from pdscaler.errors import InvalidInputError
from pdscaler.telemetry.presets.model import Preset
from pdscaler.telemetry.text import shown, shown_list

BUILT_IN = ("vllm.yaml", "llmd.yaml")


def load_presets(directory: Path | None = None) -> Mapping[str, Preset]:
    """Read the package's presets and the administrator's.

    Parameters
    ----------
    directory
        Directory of the administrator's presets (``*.yaml``, ``*.yml``, one preset each); None: none. A preset of the
        package's name replaces it: names drift, and a cluster must not wait for a release.

    Returns
    -------
    Mapping[str, Preset]
        The presets by upper-case name.

    Raises
    ------
    InvalidInputError
        If a file cannot be used; it names the file and the key.
    """
    presets: dict[str, Preset] = {}
    for name in BUILT_IN:
        text = files(__package__).joinpath(name).read_text(encoding="utf-8")
        preset = _preset(parse_yaml(text, name), name)
        presets[preset.name.upper()] = preset
    if directory is None:
        return presets
    if not directory.is_dir():
        raise InvalidInputError("presets", "is not a directory", str(directory))
    owners: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        # A mounted ConfigMap holds hidden directories beside its files.
        if path.suffix not in {".yaml", ".yml"} or path.name.startswith(".") or not path.is_file():
            continue
        preset = _preset(read_yaml_documents(path), str(path))
        key = preset.name.upper()
        if key in owners:
            raise InvalidInputError("name", f"{shown(preset.name)} is also the name in {owners[key]}", str(path))
        owners[key] = path
        presets[key] = preset
    return presets


def find_preset(presets: Mapping[str, Preset], name: str, field: str) -> Preset:
    """Return a preset by name; case does not matter.

    Raises
    ------
    InvalidInputError
        If there is none, listing those there are.
    """
    preset = presets.get(name.upper())
    if preset is None:
        known = shown_list((known.name for known in presets.values()), 20)
        raise InvalidInputError(field, f"no preset {shown(name)} (there are {known})")
    return preset


def _preset(documents: list[object], source: str) -> Preset:
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise InvalidInputError("", "expected one mapping with name and quantities", source)
    try:
        return Preset.model_validate(documents[0])
    except ValidationError as failure:
        raise _problem(failure.errors(include_url=False)[0], source) from None


def _problem(detail: ErrorDetails, source: str) -> InvalidInputError:
    """Turn pydantic's first error into one line that names file and key."""
    context = detail.get("ctx") or {}
    path = [*detail["loc"], *(context.get("path") or ())] if detail["type"] == "preset" else list(detail["loc"])
    field = ""
    for step in path:
        if step == "[key]":
            continue
        field += f"[{step}]" if isinstance(step, int) else ("." if field else "") + _plain(step)
    if detail["type"] == "extra_forbidden":
        return InvalidInputError(field, "unknown key", source)
    if detail["type"] == "missing":
        return InvalidInputError(field, "is required", source)
    given = detail.get("input")
    value = f"{shown(given)}: " if isinstance(given, str) else ""
    return InvalidInputError(field, value + detail["msg"], source)


def _plain(step: str) -> str:
    """A key as it stands, or quoted where it holds what a path cannot."""
    plain = len(step) <= 64 and step.replace("-", "").replace("_", "").isalnum()
    return step if plain else shown(step)
