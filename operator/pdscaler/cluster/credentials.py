"""Which cluster, and as whom: kubeconfigs and service accounts. May import errors only.

:func:`pdscaler.cluster.connection.connect` reads them here; a library with a connection of its own gets them as plain
values, so that both speak with the same cluster as the same user.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.config.incluster_config import SERVICE_CERT_FILENAME, SERVICE_TOKEN_FILENAME

from pdscaler.cluster.errors import one_line
from pdscaler.errors import InvalidInputError

POD_NAMESPACE_FILE = Path(SERVICE_TOKEN_FILENAME).with_name("namespace")
"""Where a pod finds the name of its own namespace."""


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
    configuration = await load_configuration(kubeconfig, context)
    header = await configuration.get_api_key_with_prefix("BearerToken")
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


def pod_namespace() -> str | None:
    """Return the namespace of the pod that this process is; None where it is none."""
    try:
        return POD_NAMESPACE_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


async def load_configuration(kubeconfig: str | None, context: str | None) -> Configuration:
    """Read the client's configuration; arguments and errors as :func:`load_credentials`."""
    if kubeconfig is None and context is None and _is_pod():
        return _of_service_account()
    files = _kubeconfig_files(kubeconfig)
    configuration = Configuration()
    try:
        await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=files, context=context, client_configuration=configuration, persist_config=False
        )
    except (TypeError, AttributeError) as error:
        # The client's loader stumbles over whatever has another shape; a kubeconfig is user input: it gets one line.
        raise InvalidInputError("kubeconfig", "cannot be used: it is not a kubeconfig", files) from error
    except (ConfigException, OSError, yaml.YAMLError, ValueError) as error:
        raise InvalidInputError("kubeconfig", f"cannot be used: {one_line(str(error))}", files) from error
    return configuration


def _of_service_account() -> Configuration:
    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        problem = f"the pod's service account cannot be used: {one_line(str(error))}"
        raise InvalidInputError("kubeconfig", problem) from error
    return configuration


def _kubeconfig_files(kubeconfig: str | None) -> str:
    files = kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    if not any(Path(file).is_file() for file in files.split(os.pathsep)):
        raise InvalidInputError("kubeconfig", "no such file (name one with --kubeconfig or KUBECONFIG)", files)
    return files


def _is_pod() -> bool:
    return (
        "KUBERNETES_SERVICE_HOST" in os.environ
        and Path(SERVICE_TOKEN_FILENAME).is_file()
        and Path(SERVICE_CERT_FILENAME).is_file()
    )
