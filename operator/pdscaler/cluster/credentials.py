"""The credentials of a cluster as plain values, for a library with a connection of its own. May import errors only.

Read as :func:`pdscaler.cluster.connection.connect` reads them: both speak with the same cluster as the same user.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.config.incluster_config import SERVICE_CERT_FILENAME, SERVICE_TOKEN_FILENAME

from pdscaler.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach an API server, and as whom.

    Parameters
    ----------
    server
        URL of the API server.
    ca_file, cert_file, key_file
        PEM files; None where not used.
    insecure
        The server's certificate is not checked.
    scheme, token
        Of the Authorization header, such as ``Bearer`` and a token; None where not used.
    username, password
        Basic authentication; None where not used.
    proxy
        URL of a proxy; None where there is none.
    """

    server: str
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False
    scheme: str | None = None
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    proxy: str | None = None


async def load_credentials(kubeconfig: str | None = None, context: str | None = None) -> Credentials:
    """Read the credentials now: tokens rotate, so nothing is remembered.

    Parameters
    ----------
    kubeconfig, context
        As for :func:`pdscaler.cluster.connection.connect`.

    Raises
    ------
    InvalidInputError
        If the kubeconfig is missing or cannot be used, or has no such context.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and context is None and _is_pod():
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
            )
        header = await configuration.get_api_key_with_prefix("BearerToken")
    except (ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise InvalidInputError("kubeconfig", f"cannot be used: {said}", kubeconfig or "") from error
    scheme, _, token = (header or "").rpartition(" ")
    return Credentials(
        server=str(configuration.host),
        ca_file=configuration.ssl_ca_cert or None,
        cert_file=configuration.cert_file or None,
        key_file=configuration.key_file or None,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        username=configuration.username or None,
        password=configuration.password or None,
        proxy=configuration.proxy or None,
    )


def _is_pod() -> bool:
    return (
        "KUBERNETES_SERVICE_HOST" in os.environ
        and Path(SERVICE_TOKEN_FILENAME).is_file()
        and Path(SERVICE_CERT_FILENAME).is_file()
    )
