"""What the commands that ask a cluster have in common: their options, the connection, and errors a person can act on.

May import click, yaml, cluster and errors.
"""

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from pdscaler.cluster.connection import connect
from pdscaler.cluster.credentials import POD_NAMESPACE_FILE, pod_namespace
from pdscaler.cluster.errors import FORBIDDEN, NOT_FOUND, UNREACHABLE, ClusterError
from pdscaler.cluster.resources import PDDeployments
from pdscaler.errors import InvalidInputError, PdscalerError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster and which namespace a command is about.

    Parameters
    ----------
    kubeconfig
        Path of the kubeconfig; None: as kubectl finds it.
    context
        Its context; None: the current one.
    namespace
        As given; None: the context's own.
    """

    kubeconfig: str | None
    context: str | None
    namespace: str | None

    @property
    def home_namespace(self) -> str:
        """The namespace to look in: as given, else the context's, else the pod's own, else ``default``."""
        return self.namespace or context_namespace(self.kubeconfig, self.context, os.environ) or "default"


def cluster_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add ``--namespace``, ``--kubeconfig`` and ``--context`` to a command; it gets one ``where: ClusterOptions``."""

    @click.option("-n", "--namespace", help="Namespace; the kubeconfig's own if left out.")
    @click.option("--kubeconfig", type=click.Path(), help="Kubeconfig file; as kubectl finds it if left out.")
    @click.option("--context", help="Context of the kubeconfig; the current one if left out.")
    @functools.wraps(command)
    def wrapped(namespace: str | None, kubeconfig: str | None, context: str | None, **others: object) -> T:
        return command(where=ClusterOptions(kubeconfig, context, namespace), **others)

    return wrapped


def ask(where: ClusterOptions, question: Callable[[PDDeployments], Awaitable[T]]) -> T:
    """Connect, put one question to the cluster, and close the connection.

    Raises
    ------
    PdscalerError
        With one line that says what to do: no cluster, no right, no CRD.
    """
    require_cluster(where.kubeconfig, where.context, os.environ)

    async def run() -> T:
        connection = await connect(where.kubeconfig, where.context)
        async with connection:
            return await question(PDDeployments(connection))

    try:
        return asyncio.run(run())
    except ClusterError as error:
        raise explained(error) from error


async def get_or_list_names(resources: PDDeployments, namespace: str, name: str) -> dict[str, Any]:
    """Read one PDDeployment; where there is none, the error lists those that exist.

    Raises
    ------
    PdscalerError
        If it does not exist, or the cluster has no such kind.
    ClusterError
        As the server says.
    """
    try:
        return await resources.get(namespace, name)
    except ClusterError as error:
        if error.reason != NOT_FOUND:
            raise
    here = sorted(str(document["metadata"]["name"]) for document in await _list(resources, namespace))
    problem = f'there is no PDDeployment "{name}" in namespace "{namespace}"'
    if here:
        raise PdscalerError(f"{problem}; there: {_some(here)}")
    try:
        everywhere = await resources.list()
    except ClusterError:
        raise PdscalerError(f"{problem}, nor any other") from None
    others = sorted(f"{document['metadata']['namespace']}/{document['metadata']['name']}" for document in everywhere)
    raise PdscalerError(f"{problem}, nor any other; elsewhere: {_some(others) if others else 'none'} (choose with -n)")


async def list_all(resources: PDDeployments, namespace: str | None) -> list[dict[str, Any]]:
    """Read the PDDeployments of one namespace, or (None) of all, ordered by namespace and name."""
    documents = await _list(resources, namespace)
    return sorted(documents, key=lambda found: (found["metadata"]["namespace"], found["metadata"]["name"]))


async def _list(resources: PDDeployments, namespace: str | None) -> list[dict[str, Any]]:
    try:
        return await resources.list(namespace)
    except ClusterError as error:
        if error.reason == NOT_FOUND:
            # A list of a kind that is served is empty, never 404: so the kind itself is missing.
            raise PdscalerError(
                "the cluster does not know PDDeployments; install them: pdscaler crd | kubectl apply --server-side -f -"
            ) from error
        raise


def explained(error: ClusterError) -> PdscalerError:
    """Add to a cluster's error what a person can do about it."""
    if error.reason == UNREACHABLE:
        return PdscalerError(f"{error.message} (choose another cluster with --context or --kubeconfig)")
    if error.reason == FORBIDDEN:
        return PdscalerError(f"the cluster refused: {error.message}")
    return PdscalerError(str(error))


def context_namespace(kubeconfig: str | None, context: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the namespace that a kubeconfig's context names; None where it names none or cannot be read."""
    if kubeconfig is None and context is None and _in_pod(environ):
        return pod_namespace()
    documents = [_mapping(path) for path in kubeconfig_files(kubeconfig, environ)]
    chosen = context or next((found["current-context"] for found in documents if found.get("current-context")), None)
    settings = _contexts(documents).get(str(chosen)) or {}
    return settings.get("namespace")


def require_cluster(kubeconfig: str | None, context: str | None, environ: Mapping[str, str]) -> None:
    """Check that there is a kubeconfig with the context, before the client fails in its own words.

    Raises
    ------
    InvalidInputError
        If no kubeconfig exists, or it has no such context: then it lists those it has.
    """
    if kubeconfig is None and context is None and _in_pod(environ):
        return
    files = kubeconfig_files(kubeconfig, environ)
    if not any(path.is_file() for path in files):
        looked = ", ".join(str(path) for path in files)
        raise InvalidInputError("", f"no cluster to ask: no kubeconfig at {looked} (name one with --kubeconfig)")
    contexts = _contexts([_mapping(path) for path in files])
    if context is not None and context not in contexts:
        there = _some(sorted(contexts)) if contexts else "none"
        raise InvalidInputError("--context", f'there is no context "{context}"; there: {there}')


def kubeconfig_files(kubeconfig: str | None, environ: Mapping[str, str]) -> list[Path]:
    """Return where a kubeconfig is looked for: as given, else ``$KUBECONFIG``, else ``~/.kube/config``."""
    listed = [kubeconfig] if kubeconfig else environ.get("KUBECONFIG", "").split(os.pathsep)
    return [Path(path) for path in listed if path] or [Path.home() / ".kube" / "config"]


def _contexts(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    entries = [entry for document in documents for entry in document.get("contexts") or [] if isinstance(entry, dict)]
    return {str(entry.get("name")): entry.get("context") or {} for entry in reversed(entries)}


def _in_pod(environ: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ and POD_NAMESPACE_FILE.is_file()


def _mapping(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}  # connecting reports what is wrong with it
    return document if isinstance(document, dict) else {}


def _some(names: list[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
