"""The bill of materials of what is shipped: a CycloneDX document, cut down to the operator's own requirements."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from audit.lock import normal

Document = dict[str, Any]


class AuditError(Exception):
    """What keeps an audit from saying something true; ``str()`` is one line."""


def shipped(environment: Document, lock: Mapping[str, Collection[str]], root: str) -> Document:
    """Keep the components that the lock names, and what depends on what among them.

    Parameters
    ----------
    environment
        CycloneDX document of a whole environment, development tools included.
    lock
        Versions of each package that is shipped.
    root
        Name of the product itself.

    Raises
    ------
    AuditError
        If the environment holds another version than the lock, or none of what it names.
    """
    kept = []
    for component in environment["components"]:
        name = normal(component["name"])
        if name not in lock:
            continue
        if component.get("version") not in lock[name]:
            problem = (
                f"{name} is {component.get('version')} in the environment and {' or '.join(lock[name])} in the lock"
            )
            raise AuditError(f"{problem}: run make install")
        kept.append(component)
    if not kept:
        raise AuditError("the environment holds nothing of what the lock names: run make install")
    known = {component["bom-ref"] for component in kept}
    main = environment.get("metadata", {}).get("component", {})
    if normal(main.get("name", "")) != normal(root):
        raise AuditError(f"the bill of materials is not that of {root}")
    known.add(main.get("bom-ref"))
    dependencies = [
        {
            **entry,
            **({"dependsOn": [ref for ref in entry["dependsOn"] if ref in known]} if "dependsOn" in entry else {}),
        }
        for entry in environment.get("dependencies", ())
        if entry["ref"] in known
    ]
    return {**environment, "components": kept, "dependencies": dependencies}


def absent(document: Document, lock: Mapping[str, Collection[str]]) -> list[str]:
    """Return what the lock names and the environment does not hold: packages for other platforms."""
    there = {normal(component["name"]) for component in document["components"]}
    return sorted(set(lock) - there)


def licences(component: Document) -> Iterator[str]:
    """Return the licences of a component, as it states them: SPDX where it does."""
    for entry in component.get("licenses", ()):
        stated = entry.get("license", {})
        found = entry.get("expression") or stated.get("id") or stated.get("name")
        if found:
            yield str(found).removeprefix("License :: OSI Approved :: ")
