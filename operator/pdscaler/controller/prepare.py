"""From the document of a PDDeployment to what an evaluation needs of it, once per version of it. No kopf, no I/O."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pdscaler.api.annotations import paused_of
from pdscaler.api.config import OperatorConfig
from pdscaler.api.convert import to_forecast_settings, to_scaling_spec
from pdscaler.api.metrics import MetricsSpec
from pdscaler.api.parse import parse_pddeployment
from pdscaler.api.pool import ScaleTargetRef
from pdscaler.api.spec import Calibration, Mode
from pdscaler.cluster.targets import TargetRef
from pdscaler.controller.evaluation import INVALID_SPEC, Rejection, ResourceKey, broken
from pdscaler.core.decision import Paused
from pdscaler.core.pools import PerPool
from pdscaler.core.spec import ScalingSpec
from pdscaler.errors import InvalidInputError
from pdscaler.forecast import ForecastSettings
from pdscaler.telemetry.endpoints import Endpoint, resolve_endpoint
from pdscaler.telemetry.presets import Preset, find_preset
from pdscaler.telemetry.subject import Subject

_logger = logging.getLogger(__name__)

Document = Mapping[str, Any]

_PAUSE_PREFIX = "pdscaler.io/"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What of a PDDeployment decides what is to be done; our own status writes do not change it."""

    uid: str
    generation: int
    annotations: tuple[tuple[str, str], ...]
    deleting: bool


def key_of(document: Document) -> ResourceKey:
    """Namespace and name of a document."""
    metadata = document["metadata"]
    return ResourceKey(str(metadata.get("namespace", "")), str(metadata["name"]))


def fingerprint_of(document: Document) -> Fingerprint:
    """Return the fingerprint of a document."""
    metadata = document["metadata"]
    annotations = metadata.get("annotations") or {}
    return Fingerprint(
        uid=str(metadata.get("uid", "")),
        generation=int(metadata.get("generation") or 0),
        annotations=tuple(
            sorted(
                (str(name), str(value)) for name, value in annotations.items() if str(name).startswith(_PAUSE_PREFIX)
            )
        ),
        deleting=metadata.get("deletionTimestamp") is not None,
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A valid PDDeployment, ready to be evaluated.

    Parameters
    ----------
    key, fingerprint, created
        Identity; ``created`` is the creation time as RFC 3339, which sorts as text.
    model
        Value of the model label.
    recommend_only
        Nothing may be written.
    calibration
        Whether profiles are to be corrected by what the engines do.
    metrics
        What is to be read.
    forecast
        How the load is forecast; None: the load seen now counts.
    spec
        The resource as the core sees it.
    targets
        What it scales.
    paused
        Directions that the user has paused.
    endpoint
        The Prometheus it is read from.
    """

    key: ResourceKey
    fingerprint: Fingerprint
    created: str
    model: str
    recommend_only: bool
    calibration: bool
    metrics: MetricsSpec
    forecast: ForecastSettings | None
    spec: ScalingSpec
    targets: PerPool[TargetRef]
    paused: Paused
    endpoint: Endpoint

    def subject(self, pods: PerPool[frozenset[str]]) -> Subject:
        """Return what the collector must know.

        Parameters
        ----------
        pods
            Names of each pool's pods, those gone within the window included.
        """
        metrics, front_door = self.metrics, self.metrics.front_door
        return Subject(
            namespace=self.key.namespace,
            name=self.key.name,
            model=self.model,
            engine=metrics.engine,
            front_door_preset=None if front_door is None else front_door.preset,
            front_door_labels=() if front_door is None else tuple(sorted(front_door.match_labels.items())),
            endpoint=self.endpoint,
            pool_label=metrics.pool_label,
            pods=pods,
            targets=self.targets.map(lambda ref: ref.name),
            window_s=metrics.window_s,
            max_staleness_s=metrics.max_staleness_s,
            slo=self.spec.sizing.slo,
        )


class Preparer:
    """Parses each version of a PDDeployment once.

    Parameters
    ----------
    config
        The operator's configuration: endpoints that may be read.
    presets
        The presets that exist (:func:`pdscaler.telemetry.presets.load_presets`).
    clock
        Seconds since the epoch.
    """

    def __init__(self, config: OperatorConfig, presets: Mapping[str, Preset], clock: Callable[[], float]) -> None:
        self._config = config
        self._presets = presets
        self._clock = clock
        self._known: dict[ResourceKey, tuple[Fingerprint, Prepared | Exception]] = {}

    def prepare(self, document: Document) -> Prepared | Rejection:
        """Return the resource ready for evaluation, or why it cannot be evaluated."""
        key, fingerprint = key_of(document), fingerprint_of(document)
        known = self._known.get(key)
        if known is None or known[0] != fingerprint:
            known = self._known[key] = (fingerprint, self._parse(key, fingerprint, document))
        found = known[1]
        if isinstance(found, Prepared):
            return found
        if isinstance(found, InvalidInputError):
            return Rejection(key, fingerprint.generation, self._clock(), INVALID_SPEC, f"{found}.")
        return broken(key, fingerprint.generation, self._clock(), found, self._config.evaluation_period_s)

    def forget(self, key: ResourceKey) -> None:
        """Forget a resource that is gone."""
        self._known.pop(key, None)

    def _parse(self, key: ResourceKey, fingerprint: Fingerprint, document: Document) -> Prepared | Exception:
        try:
            return self._prepared(key, fingerprint, document)
        except InvalidInputError as error:
            return error
        except Exception as error:
            # One hostile document must not keep the others from being evaluated.
            _logger.exception("PDDeployment %s cannot be read", key)
            return error

    def _prepared(self, key: ResourceKey, fingerprint: Fingerprint, document: Document) -> Prepared:
        resource = parse_pddeployment({name: value for name, value in document.items() if name != "status"})
        spec = resource.spec
        self._check_presets(spec.metrics)
        return Prepared(
            key=key,
            fingerprint=fingerprint,
            created=resource.metadata.creation_timestamp or "",
            model=spec.model,
            recommend_only=spec.mode is Mode.RECOMMEND_ONLY,
            calibration=spec.sizing.calibration is Calibration.AUTO,
            metrics=spec.metrics,
            forecast=to_forecast_settings(resource, self._config.evaluation_period_s),
            spec=replace(to_scaling_spec(resource), evaluation_period_s=self._config.evaluation_period_s),
            targets=PerPool(
                _target(key.namespace, spec.prefill.scale_target_ref),
                _target(key.namespace, spec.decode.scale_target_ref),
            ),
            paused=paused_of(resource.metadata.annotations),
            endpoint=resolve_endpoint(spec.metrics.prometheus, self._config),
        )

    def _check_presets(self, metrics: MetricsSpec) -> None:
        find_preset(self._presets, metrics.engine, "spec.metrics.engine")
        if metrics.front_door is not None:
            find_preset(self._presets, metrics.front_door.preset, "spec.metrics.frontDoor.preset")


def _target(namespace: str, ref: ScaleTargetRef) -> TargetRef:
    return TargetRef(namespace, ref.api_version, ref.kind, ref.name)
