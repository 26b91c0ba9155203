"""Strict JSON schemas for kubeconform, made from what a real API server says of its own types.

kubeconform fetches schemas from the network otherwise; and these also hold our own custom resource.
"""

import json
from pathlib import Path
from typing import Any

from localplane.plane import ControlPlane
from localplane.waiting import wait_for

_REF = "#/components/schemas/"


def write_schemas(plane: ControlPlane, folder: Path, *groups: str) -> str:
    """Write one schema for each kind of some API groups.

    Parameters
    ----------
    plane
        The control plane to ask.
    folder
        Where to write.
    groups
        Paths such as ``api/v1`` and ``apis/apps/v1``.

    Returns
    -------
    str
        kubeconform's ``-schema-location``.
    """
    for group in groups:
        schemas = json.loads(_published(plane, group))["components"]["schemas"]
        definitions = {name: _strict(schema) for name, schema in schemas.items()}
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                if f"{kind['group']}/{kind['version']}".strip("/") != group.partition("/")[2]:
                    continue
                document = {"$ref": f"#/definitions/{name}", "definitions": definitions}
                # kubeconform takes the first part of apiVersion for the group: "v1" of the core group.
                file = f"{kind['group'] or kind['version']}_{kind['version']}_{kind['kind'].lower()}.json"
                (folder / file).write_text(json.dumps(document))
    return str(folder / "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json")


def _strict(schema: Any) -> Any:
    """Refuse unknown fields wherever the API server knows the fields, and point references into this file."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _strict(value) for key, value in schema.items()}
    if isinstance(result.get("$ref"), str):
        result["$ref"] = "#/definitions/" + result["$ref"].removeprefix(_REF)
    open_ended = result.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in result
    if isinstance(result.get("properties"), dict) and not open_ended:
        result["additionalProperties"] = False
    return result


def _published(plane: ControlPlane, group: str) -> str:
    """Return a group's document; a CRD's is published some time after the CRD is established."""

    def ask() -> str | None:
        done = plane.kubectl("get", "--raw", f"/openapi/v3/{group}", check=False)
        return done.stdout if done.returncode == 0 else None

    return wait_for(f"the schemas of {group}", ask, every_s=0.3)
