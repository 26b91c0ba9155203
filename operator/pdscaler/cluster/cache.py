"""What the cluster says of targets, their pods and who else scales them, kept current by watches.

One watch per kind of target, one of pods, one per kind of autoscaler; per namespace where the operator is confined to
some. Answers come from memory at once. What is not known is a :class:`TargetUnknown` with its reason, never a zero.
May import cluster, core and errors.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pdscaler.cluster import rivals
from pdscaler.cluster.changes import ChangeLog, ForeignChange
from pdscaler.cluster.connection import Connection, collection_path
from pdscaler.cluster.errors import FORBIDDEN, NOT_FOUND, UNREACHABLE, ClusterError
from pdscaler.cluster.pods import PodInfo, count_pods
from pdscaler.cluster.podstore import PodKey, PodStore
from pdscaler.cluster.reflector import Reflector, Store
from pdscaler.cluster.scale import ScaleReader
from pdscaler.cluster.scalecache import ScaleCache
from pdscaler.cluster.selectors import Selector, parse_label_selector
from pdscaler.cluster.targets import (
    FAILED_GET_SCALE,
    INVALID_SELECTOR,
    NOT_SCALABLE,
    KindRef,
    TargetObject,
    TargetRef,
    find_mapping,
    unknown,
)
from pdscaler.cluster.targetstore import TargetKey, TargetStore
from pdscaler.core.decision import PoolState, TargetUnknown
from pdscaler.errors import InvalidInputError

_logger = logging.getLogger(__name__)

STALE_S = 120.0
"""Without a word from the API server for this long, what was known of a target is no longer believed, seconds."""
FAILED_GET_PODS = "FailedGetPods"
_FIRST_READ_S = 20.0
_FINAL = frozenset({FORBIDDEN, NOT_FOUND, NOT_SCALABLE, "Unauthorized"})
"""Refusals that make known things unknown at once; an outage does so only after a while."""

Scope = str | None
"""A namespace, or None for the whole cluster."""


@dataclass(frozen=True, slots=True)
class _Followed:
    """A kind that is followed."""

    store: TargetStore
    reflectors: Mapping[Scope, Reflector[TargetKey]]
    tasks: tuple[asyncio.Task[None], ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is known of a target, whoever said it."""

    replicas: int
    selector: Selector
    rollout: bool
    quota_message: str


class ClusterCache:
    """Follows targets and pods. Start it before use, and stop it.

    Parameters
    ----------
    connection
        The API server.
    namespaces
        Namespaces to stay within; empty: the whole cluster.
    clock
        Seconds since the epoch.
    rng
        For the jitter of retries.
    """

    def __init__(
        self,
        connection: Connection,
        namespaces: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._connection = connection
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._pods = PodStore(clock)
        self._pod_reflectors: Mapping[Scope, Reflector[PodKey]] = {}
        self._scales = ScaleCache(ScaleReader(connection))
        self._kinds: dict[KindRef, _Followed] = {}
        self._rivals = rivals.follow(connection, self._scopes, clock, self._rng)
        self._changes = ChangeLog(clock)
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        """Begin to follow pods and autoscalers; returns once they are read, or once it is known that they cannot be.

        It never fails: a server that does not answer yet is tried again, and :meth:`target` says what is the matter.
        """
        if self._tasks:
            return
        self._pod_reflectors = self._reflectors(self._pods, self._pod_path)
        of_rivals = [(each.kind.plural, reflector) for each in self._rivals for reflector in each.reflectors.values()]
        self._tasks = (
            *(_task(reflector.run(), "pods") for reflector in self._pod_reflectors.values()),
            *(_task(reflector.run(), plural) for plural, reflector in of_rivals),
            _task(self._scales.run(), "scales"),
        )
        await _first_answers([*self._pod_reflectors.values(), *(reflector for _, reflector in of_rivals)])

    async def stop(self) -> None:
        """End every watch; nothing is left running."""
        tasks = [*self._tasks, *(task for followed in self._kinds.values() for task in followed.tasks)]
        self._tasks = ()
        self._kinds.clear()
        await _cancel(tasks)

    async def watch(self, *refs: TargetRef) -> None:
        """Make sure that targets are followed.

        Parameters
        ----------
        refs
            The targets. The first call for a kind returns once its objects are read, or cannot be; later calls at once.
        """
        own = [ref for ref in refs if self._within(ref)]
        reflectors: list[Reflector[TargetKey]] = []
        for kind in dict.fromkeys(ref.of_kind for ref in own):
            if kind not in self._kinds:
                self._kinds[kind] = self._follow(kind)
            reflectors += self._kinds[kind].reflectors.values()
        await _first_answers(reflectors)
        await asyncio.gather(*(self._scales.follow(ref) for ref in own if not ref.of_kind.self_describing))

    async def retain(self, refs: Iterable[TargetRef]) -> None:
        """Stop following every target but these."""
        kept = set(refs)
        self._scales.retain(kept)
        self._changes.retain(kept)
        kinds = {ref.of_kind for ref in kept}
        dropped = [self._kinds.pop(kind) for kind in list(self._kinds) if kind not in kinds]
        await _cancel([task for followed in dropped for task in followed.tasks])

    def target(self, ref: TargetRef) -> PoolState | TargetUnknown:
        """Return the state of a target, or why it is not known."""
        reading = self._read(ref)
        if isinstance(reading, TargetUnknown):
            return reading
        doubt = self._doubt(ref, self._pod_reflectors)
        if doubt is not None:
            return TargetUnknown(FAILED_GET_PODS, f"the pods of {ref} cannot be read: {doubt}")
        pods = self._existing(ref, reading.selector)
        missing = 0
        if reading.quota_message:
            missing = max(1, reading.replicas - sum(not pod.terminating for pod in pods))
        counts = count_pods(pods, missing)
        return PoolState(
            spec_replicas=reading.replicas,
            ready_replicas=counts.ready,
            pending_replicas=counts.pending,
            terminating_replicas=counts.terminating,
            rollout=reading.rollout,
            trouble=counts.trouble,
        )

    def pods(self, ref: TargetRef) -> tuple[PodInfo, ...]:
        """Return the pods of a target that serve, will serve or are ending; none where the target is unknown."""
        reading = self._read(ref)
        return () if isinstance(reading, TargetUnknown) else self._existing(ref, reading.selector)

    def pod_names(self, ref: TargetRef, since_s: float) -> frozenset[str]:
        """Return the names of the pods of a target that existed at any time since ``since_s``.

        Parameters
        ----------
        ref
            The target.
        since_s
            Start of the window, seconds since the epoch. Pods that were gone before this process started are not known.
        """
        reading = self._read(ref)
        if isinstance(reading, TargetUnknown):
            return frozenset()
        chosen = self._pods.select(ref.namespace, reading.selector)
        return frozenset(pod.name for pod in chosen if pod.gone_at_s is None or pod.gone_at_s >= since_s)

    def rival(self, ref: TargetRef) -> str:
        """Name another autoscaler of a target: ``HorizontalPodAutoscaler serving/chat``; empty where none is known."""
        for each in self._rivals:
            found = each.store.of(ref.identity)
            if found and not self._absent(ref, each):
                return found
        return ""

    def unwatched(self, ref: TargetRef) -> str:
        """Say which autoscalers of a target would go unnoticed, and why; empty where none would."""
        said = []
        for each in self._rivals:
            doubt = self._doubt(ref, each.reflectors) if self._within(ref) else None
            if doubt is not None and not self._absent(ref, each):
                said.append(f"{each.kind.kind}s cannot be read ({doubt}): one on a target would go unnoticed")
        return "; ".join(said)

    def foreign_changes(self, ref: TargetRef) -> tuple[ForeignChange, ...]:
        """Return the last changes of a target's replicas by others than this operator, the oldest first."""
        return self._changes.of(ref)

    def ordered(self, ref: TargetRef, replicas: int) -> None:
        """Take note of an order of ours, before it is sent."""
        self._changes.ordered(ref, replicas)

    def _absent(self, ref: TargetRef, followed: rivals.Followed) -> bool:
        """Whether the cluster does not serve a kind of autoscaler, or no longer does."""
        reflector = followed.reflectors.get(self._scope(ref))
        problem = None if reflector is None else reflector.problem
        return problem is not None and problem.reason == NOT_FOUND

    def _existing(self, ref: TargetRef, selector: Selector) -> tuple[PodInfo, ...]:
        chosen = self._pods.select(ref.namespace, selector)
        return tuple(pod for pod in chosen if pod.gone_at_s is None and not pod.finished)

    def _read(self, ref: TargetRef) -> _Reading | TargetUnknown:
        if not self._within(ref):
            return TargetUnknown(
                FAILED_GET_SCALE, f"{ref}: this operator only watches namespaces {', '.join(self._namespaces)}"
            )
        followed = self._kinds.get(ref.of_kind)
        if followed is None:
            return TargetUnknown(FAILED_GET_SCALE, f"{ref} has not been read yet")
        doubt = self._doubt(ref, followed.reflectors)
        if doubt is not None:
            return unknown(ref, doubt)
        found = followed.store.get(ref)
        if found is None:
            return unknown(ref, ClusterError(NOT_FOUND, ""))
        return self._reading(ref, found)

    def _reading(self, ref: TargetRef, found: TargetObject) -> _Reading | TargetUnknown:
        if found.replicas is not None and found.selector is not None:
            return _Reading(found.replicas, found.selector, found.rollout, found.quota_message)
        scale = self._scales.get(ref)
        if scale is None:
            return TargetUnknown(FAILED_GET_SCALE, f"the scale of {ref} has not been read yet")
        if isinstance(scale, TargetUnknown):
            return scale
        if not scale.selector:
            return TargetUnknown(
                INVALID_SELECTOR, f"{ref} reports no label selector in its scale: its pods cannot be told"
            )
        try:
            return _Reading(scale.replicas, _parse_selector(scale.selector), rollout=False, quota_message="")
        except InvalidInputError as error:
            return TargetUnknown(INVALID_SELECTOR, f"{ref}: {error}")

    def _doubt(self, ref: TargetRef, reflectors: Mapping[Scope, Reflector[Any]]) -> ClusterError | None:
        """Why what a reflector has read must not be believed now; None where it may be."""
        reflector = reflectors.get(self._scope(ref))
        if reflector is None or reflector.contact_s is None:
            problem = None if reflector is None else reflector.problem
            return problem or ClusterError(UNREACHABLE, "the API server has not answered yet")
        if reflector.problem is not None and reflector.problem.reason in _FINAL:
            return reflector.problem
        silence_s = self._clock() - reflector.contact_s
        if silence_s <= STALE_S:
            return None
        return reflector.problem or ClusterError(UNREACHABLE, f"no word from the API server for {silence_s:.0f}s")

    def _within(self, ref: TargetRef) -> bool:
        return not self._namespaces or ref.namespace in self._namespaces

    def _scope(self, ref: TargetRef) -> Scope:
        return ref.namespace if self._namespaces else None

    def _follow(self, kind: KindRef) -> _Followed:
        async def locate(scope: Scope) -> str:
            return (await find_mapping(self._connection, kind)).collection(scope)

        store = TargetStore(kind, self._scales.mark, self._changes.saw)
        reflectors = self._reflectors(store, locate)
        tasks = tuple(_task(reflector.run(), str(kind)) for reflector in reflectors.values())
        return _Followed(store, reflectors, tasks)

    def _reflectors(
        self, store: Store[Any], locate: Callable[[Scope], Coroutine[Any, Any, str]]
    ) -> Mapping[Scope, Reflector[Any]]:
        return {
            scope: Reflector(self._connection, locate, store, scope, clock=self._clock, rng=self._rng)
            for scope in self._scopes
        }

    @property
    def _scopes(self) -> tuple[Scope, ...]:
        return self._namespaces or (None,)

    async def _pod_path(self, scope: Scope) -> str:
        return collection_path("v1", "pods", scope)


_parse_selector = lru_cache(maxsize=4096)(parse_label_selector)


def _task(work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    task = asyncio.create_task(work, name=f"pdscaler watch {what}")
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    """Say so if a watch ended by itself: it never should, and without it the cache grows old."""
    if not task.cancelled() and task.exception() is not None:
        _logger.error("%s ended: %r", task.get_name(), task.exception(), exc_info=task.exception())


async def _first_answers(reflectors: Iterable[Reflector[Any]]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_READ_S):
            for reflector in reflectors:
                await reflector.attempted.wait()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
