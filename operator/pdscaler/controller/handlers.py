"""The kopf handlers: an index, an event handler, startup and cleanup, login. Imports kopf; each handler is one call.

No timers, no daemons, no change handlers: they would leave a finalizer or an annotation on the resource.
"""

from typing import Any

import kopf

from pdscaler.api.pddeployment import GROUP, PLURAL, VERSION
from pdscaler.cluster.credentials import load_credentials
from pdscaler.controller import kopfsettings
from pdscaler.controller.context import Context
from pdscaler.controller.packed import PackedDocument

INDEX = "pddeployments"


def build_registry() -> kopf.OperatorRegistry:
    """Return the handlers, in a registry of their own. The memo they get is a :class:`Context`."""
    registry = kopf.OperatorRegistry()

    @kopf.index(GROUP, VERSION, PLURAL, id=INDEX, registry=registry)
    async def remember(
        namespace: str | None, name: str, body: kopf.Body, memo: Context, **_: Any
    ) -> dict[tuple[str, str], PackedDocument]:
        packed = PackedDocument(body)
        _lighten(body)
        await memo.listing.join()
        return {(namespace or "", name): packed}

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def notice(type: str | None, body: kopf.Body, memo: Context, **_: Any) -> None:  # noqa: A002 - kopf's name
        memo.inventory.notice(body, deleted=type == "DELETED")

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


def _lighten(body: kopf.Body) -> None:
    """Empty what only the packed document holds from now on.

    kopf's views of a body point at each other, so it lives on until Python looks for such circles: a thousand of them
    are 50 MiB at the start. The index goes first, and no other handler reads more than the metadata.
    """
    body["metadata"].pop("managedFields", None)
    for part in ("spec", "status"):
        content = body.get(part)
        if isinstance(content, dict):
            content.clear()
