"""Scaling as a careful client does: on a conflict it reads again."""

from pdscaler.cluster.connection import Connection
from pdscaler.cluster.errors import ConflictError
from pdscaler.cluster.scale import Scale, ScaleReader, ScaleWriter
from pdscaler.cluster.targets import TargetRef


async def read_scale(api: Connection, ref: TargetRef) -> Scale:
    """Read a scale that must be there."""
    scale = await ScaleReader(api).read(ref)
    assert isinstance(scale, Scale), scale
    return scale


async def scale_to(api: Connection, ref: TargetRef, replicas: int) -> Scale:
    """Order replicas; a controller that writes the target's status in between only costs another try."""
    writer = ScaleWriter(api)
    for _ in range(20):
        try:
            return await writer.write(await read_scale(api, ref), replicas)
        except ConflictError:
            continue
    raise AssertionError(f"20 conflicts in a row on {ref}")
