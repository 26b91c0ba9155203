"""Who set the replicas of an object, as its ``managedFields`` tell. May import cluster modules only."""

from collections.abc import Mapping

from pdscaler.cluster.connection import Json
from pdscaler.cluster.errors import one_line


def scaled_by(metadata: Json) -> tuple[str, ...]:
    """Return the field managers that own ``spec.replicas``, the latest first; none where ``managedFields`` are silent.

    Examples
    --------
    >>> scaled_by({"managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]})
    ('kubectl',)
    """
    owners = [
        (str(entry.get("time") or ""), one_line(str(entry.get("manager") or "")))
        for entry in metadata.get("managedFields") or ()
        if _sets_replicas(entry)
    ]
    return tuple(name for _, name in sorted(owners, key=lambda owner: owner[0], reverse=True) if name)


def _sets_replicas(entry: Json) -> bool:
    spec = (entry.get("fieldsV1") or {}).get("f:spec")
    return isinstance(spec, Mapping) and "f:replicas" in spec
