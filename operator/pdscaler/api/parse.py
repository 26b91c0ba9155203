"""Reading a PDDeployment from a document or a file. May import only pydantic and api.

Whatever the document, the only error is InvalidInputError, naming the field as a path.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from pdscaler.api.base import FROM_DOCUMENT
from pdscaler.api.pddeployment import API_VERSION, GROUP, KIND, PDDeployment
from pdscaler.api.problems import show, to_error
from pdscaler.api.yamlfile import read_yaml_documents
from pdscaler.errors import InvalidInputError


def parse_pddeployment(document: Mapping[str, object], source: str = "") -> PDDeployment:
    """Read a PDDeployment from a JSON-like document.

    Parameters
    ----------
    document
        The object as Kubernetes or YAML gives it.
    source
        File or object, for the error.

    Raises
    ------
    InvalidInputError
        If a field is missing, unknown, of the wrong type or out of bounds, or contradicts another.
    NotSupportedYetError
        If a value asks for what this release does not implement.
    """
    if not isinstance(document, Mapping):
        raise InvalidInputError(
            "", f"expected a mapping with apiVersion, kind and spec, found {show(document)}", source
        )
    _check_kind(document, source)
    try:
        return PDDeployment.model_validate(dict(document), context=FROM_DOCUMENT, by_alias=True, by_name=False)
    except ValidationError as failure:
        raise to_error(failure, PDDeployment, source) from None


def load_pddeployment(path: Path) -> PDDeployment:
    """Read the one PDDeployment of a YAML file; documents of other kinds are passed over.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, holds none or several, or as :func:`parse_pddeployment`.
    """
    found = [document for document in read_yaml_documents(path) if _is_ours(document)]
    if len(found) != 1:
        counted = "no document" if not found else f"{len(found)} documents"
        raise InvalidInputError("", f"{counted} of kind {KIND} found, expected exactly one", str(path))
    return parse_pddeployment(cast("Mapping[str, object]", found[0]), str(path))


def _is_ours(document: object) -> bool:
    return isinstance(document, Mapping) and document.get("kind") == KIND


def _check_kind(document: Mapping[str, object], source: str) -> None:
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        value = document.get(field)
        if value is None:
            raise InvalidInputError(field, f"is required ({expected})", source)
        if value != expected:
            version = isinstance(value, str) and value.startswith(GROUP + "/")
            problem = "is not a version this release reads" if version else "is not what this command reads"
            raise InvalidInputError(field, f"{show(value)} {problem} (expected {expected})", source)
