"""The custom resource PDDeployment as a whole. May import only pydantic and api."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from pdscaler.api.base import Model, ObjectName
from pdscaler.api.spec import PDDeploymentSpec

GROUP: Final = "pdscaler.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "pdscaler.io/v1alpha1"
KIND: Final = "PDDeployment"
PLURAL = "pddeployments"
SINGULAR = "pddeployment"
SHORT_NAMES = ("pdd",)

StringMap = dict[Annotated[str, Field(strict=True)], Annotated[str, Field(strict=True)]]


class Metadata(Model):
    """The part of the object's metadata that the operator reads; the rest is ignored."""

    model_config = ConfigDict(extra="ignore")

    name: ObjectName
    namespace: ObjectName = "default"
    annotations: StringMap = Field(default_factory=dict)
    labels: StringMap = Field(default_factory=dict)
    generation: int | None = None
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None


class PDDeployment(Model):
    """A pair of pools, prefill and decode, that one model's requests go through."""

    api_version: Literal["pdscaler.io/v1alpha1"] = API_VERSION
    kind: Literal["PDDeployment"] = KIND
    metadata: Metadata
    spec: PDDeploymentSpec
    status: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name
