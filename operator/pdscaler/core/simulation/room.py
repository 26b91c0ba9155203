"""Room for replicas that nobody knew of at the start. May import only this package."""

from pdscaler.core.simulation.decode_arrays import DecodePool
from pdscaler.core.simulation.prefill_arrays import PrefillPool
from pdscaler.core.simulation.tournament import tournament


def prefill_with_room(pool: PrefillPool, most: int) -> PrefillPool:
    """Return a pool in the same state with room for ``most`` replicas: itself where it has that already.

    Room is at least doubled, so that it is made seldom; replicas keep their ranks.
    """
    had = len(pool.ready)
    if most <= had:
        return pool
    most = max(most, 2 * had)
    wider = PrefillPool(most, 0)
    wider.counts = pool.counts
    wider.ready[:had] = pool.ready
    wider.loads[:had], wider.ends_s[:had] = pool.loads[:had], pool.ends_s[:had]
    wider.load_tree, wider.end_tree = tournament(wider.loads), tournament(wider.ends_s)
    wider.replicas[:had] = pool.replicas[:had]
    wider.replicas[most] = pool.replicas[had]  # the queue of Routing.CENTRAL stays behind the last one
    return wider


def decode_with_room(pool: DecodePool, most: int) -> DecodePool:
    """Return a pool in the same state with room for ``most`` replicas, as :func:`prefill_with_room` does."""
    had = len(pool.ready)
    if most <= had:
        return pool
    most = max(most, 2 * had)
    wider = DecodePool(most, 0, pool.heaps.shape[1])
    wider.counts = pool.counts
    wider.ready[:had] = pool.ready
    wider.bounds[:had] = pool.bounds
    wider.next_s[:had] = pool.next_s[:had]
    wider.tree = tournament(wider.next_s)
    wider.replicas[:had] = pool.replicas
    wider.heaps[:had] = pool.heaps
    return wider
