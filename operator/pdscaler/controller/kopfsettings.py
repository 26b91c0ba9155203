"""kopf's settings, as measured (KOPF facts in docs/adr/0001). Imports kopf, and nothing of the project."""

import itertools
import logging
from collections.abc import Iterator

import kopf

PREFIX = "kopf.pdscaler.io"
"""Prefix of what kopf would store on objects. No handler of ours stores anything; a later one would not take kopf's."""


class Patience:
    """Delays between the tries of a request, seconds: longer and longer, and no last one.

    With an end to them, a few minutes of an API server that answers 5xx would end the operator: kopf lets the error of
    its last try through. Being refused from the beginning is told before kopf starts.
    """

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0, 4.0, 8.0), itertools.repeat(15.0))


def apply(settings: kopf.OperatorSettings) -> None:
    """Set what the operator needs otherwise than kopf's defaults.

    Parameters
    ----------
    settings
        Changed in place.
    """
    settings.persistence.finalizer = f"{PREFIX}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    # Events are posted on purpose, by the cluster package.
    settings.posting.level = logging.WARNING
    settings.posting.enabled = False
    settings.networking.request_timeout = 15
    settings.networking.error_backoffs = Patience()
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    # The API server sends a bookmark each minute: a longer silence is a dead connection.
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.background.cancellation_polling = 5
    # Once is enough: the application waits for the CRD before kopf starts. So it needs no right to read CRDs and
    # namespaces, which hold what concerns nobody here.
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = 30
