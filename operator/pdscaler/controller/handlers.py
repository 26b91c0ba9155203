"""The kopf handlers: an index, an event handler, startup and cleanup, login. Imports kopf; each handler is one call.

No timers, no daemons, no change handlers: they would leave a finalizer or an annotation on the resource.
"""

from typing import Any

import kopf

from pdscaler.api.pddeployment import GROUP, PLURAL, VERSION
from pdscaler.cluster.credentials import load_credentials
from pdscaler.controller import kopfsettings
from pdscaler.controller.context import Context

INDEX = "pddeployments"


def build_registry() -> kopf.OperatorRegistry:
    """Return the handlers, in a registry of their own. The memo they get is a :class:`Context`."""
    registry = kopf.OperatorRegistry()

    @kopf.index(GROUP, VERSION, PLURAL, id=INDEX, registry=registry)
    async def remember(
        namespace: str | None, name: str, body: kopf.Body, **_: Any
    ) -> dict[tuple[str, str], dict[str, Any]]:
        return {(namespace or "", name): _document(body)}

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def notice(type: str | None, body: kopf.Body, memo: Context, **_: Any) -> None:  # noqa: A002 - kopf's name
        memo.inventory.notice(_document(body), deleted=type == "DELETED")

    @kopf.on.login(registry=registry)
    async def login(memo: Context, **_: Any) -> kopf.ConnectionInfo:
        credentials = await load_credentials(memo.config.kubeconfig, memo.config.context)
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_path=credentials.ca_file,
            certificate_path=credentials.cert_file,
            private_key_path=credentials.key_file,
            insecure=credentials.insecure,
            scheme=credentials.scheme,
            token=credentials.token,
            username=credentials.username,
            password=credentials.password,
            proxy_url=credentials.proxy,
        )

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, memo: Context, **indices: Any) -> None:
        kopfsettings.apply(settings)
        memo.inventory.attach(indices[INDEX])
        memo.start_loop()

    @kopf.on.cleanup(registry=registry)
    async def cleanup(memo: Context, **_: Any) -> None:
        await memo.stop_loop()

    return registry


def _document(body: kopf.Body) -> dict[str, Any]:
    """Return a plain copy, less the bookkeeping of field owners, which is half of an object."""
    document = dict(body)
    document["metadata"] = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return document
