"""The live PDDeployments, and which of them are due at once. Fed by kopf's index and events; imports no kopf itself."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from pdscaler.controller.evaluation import ResourceKey
from pdscaler.controller.prepare import Document, Fingerprint, fingerprint_of, key_of

Index = Mapping[ResourceKey, Iterable[Document]]


class Inventory:
    """What exists, as the watch knows it.

    The first event says that everything that exists has been listed: kopf calls event handlers only then. Before that
    nothing is live, since of two claims on one target the older might not have been read yet.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set whenever something is due at once."""
        self._index: Index = {}
        self._listed = False
        self._seen: dict[ResourceKey, Fingerprint] = {}
        self._due: set[ResourceKey] = set()
        self._gone: set[str] = set()

    def attach(self, index: Index) -> None:
        """Read from an index from now on."""
        self._index = index

    def notice(self, document: Document, deleted: bool) -> None:
        """Take note of an event: what changed is due at once; our own status writes change nothing.

        Parameters
        ----------
        document
            The object of the event.
        deleted
            The object is gone.
        """
        self._listed = True
        key, fingerprint = key_of(document), fingerprint_of(document)
        if not deleted:
            # The watch has newer word of it than whoever did not find it.
            self._gone.discard(fingerprint.uid)
        if deleted:
            self._seen.pop(key, None)
        elif self._seen.get(key) == fingerprint:
            return
        else:
            self._seen[key] = fingerprint
        self.mark(key)

    def mark(self, key: ResourceKey) -> None:
        """Make a resource due at once."""
        self._due.add(key)
        self.changed.set()

    def take_due(self) -> frozenset[ResourceKey]:
        """Return what is due at once, and begin anew."""
        due = frozenset(self._due)
        self._due.clear()
        self.changed.clear()
        return due

    def distrust(self, document: Document) -> None:
        """Stop believing in an object that the API server no longer has: the watch has missed its deletion."""
        present = {fingerprint_of(other).uid for known in self._index.values() for other in known}
        self._gone = (self._gone & present) | {fingerprint_of(document).uid}

    def documents(self) -> dict[ResourceKey, Mapping[str, Any]]:
        """Return the live resources; those that are being deleted are not."""
        if not self._listed:
            return {}
        live = {}
        for key in list(self._index):
            known = [
                document for document in self._index.get(key, ()) if fingerprint_of(document).uid not in self._gone
            ]
            if known:
                # A deletion that was missed leaves the old object beside a new one of its name.
                newest = max(known, key=_age)
                if not fingerprint_of(newest).deleting:
                    live[ResourceKey(*key)] = newest
        return live


def _age(document: Document) -> tuple[str, str]:
    metadata = document["metadata"]
    return str(metadata.get("creationTimestamp") or ""), str(metadata.get("uid", ""))
