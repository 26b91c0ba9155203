"""Reading YAML files as kubectl reads them. May import only yaml and errors.

Stricter than PyYAML: a key that stands twice is an error, times stay text, size and depth are bounded.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pdscaler.errors import InvalidInputError

MAX_BYTES = 4 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    """YAML without times and without repeated keys.

    Not the C loader: it overflows the stack, and ends the process, where a document nests deeply.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f'key "{key_node.value}" stands twice', key_node.start_mark
                )
            seen.add(key)
        result: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return result


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read_yaml_documents(path: Path) -> list[object]:
    """Read all documents of a YAML (or JSON) file; empty documents are left out.

    Raises
    ------
    InvalidInputError
        If the file cannot be read or is no YAML.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError("", f"cannot be read: {(error.strerror or 'error').lower()}", str(path)) from None
    if len(data) > MAX_BYTES:
        raise InvalidInputError("", f"is too large ({len(data)} bytes, at most {MAX_BYTES})", str(path))
    return parse_yaml(data, str(path))


def parse_yaml(data: bytes | str, source: str) -> list[object]:
    """Parse YAML text into its documents; empty documents are left out.

    Raises
    ------
    InvalidInputError
        If the text is no YAML, or nests too deeply; it names the line.
    """
    try:
        return [document for document in yaml.load_all(data, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InvalidInputError("", f"{where}not YAML: {problem}", source) from None
    except RecursionError:
        raise InvalidInputError("", "not YAML that can be read: nested too deeply", source) from None
    except ValueError as error:
        raise InvalidInputError("", f"not YAML that can be read: {str(error)[:120]}", source) from None
