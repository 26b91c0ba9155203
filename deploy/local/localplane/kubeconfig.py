"""Kubeconfig files with everything inside. Imports PyYAML."""

import base64
from pathlib import Path
from typing import Any

import yaml

from localplane.pki import Pki

CONTEXT = "pdscaler-local"
"""Name of the context in every kubeconfig written here."""


def write_certificate_kubeconfig(path: Path, server: str, pki: Pki, client: str) -> Path:
    """Write a kubeconfig that authenticates by the client certificate of one of the PKI's clients."""
    user = {
        "client-certificate-data": _encoded(pki / f"{client}.crt"),
        "client-key-data": _encoded(pki / f"{client}.key"),
    }
    return _write(path, server, pki, user)


def write_token_kubeconfig(path: Path, like: Path, token: str, namespace: str) -> Path:
    """Write a kubeconfig for the server of another one, with a bearer token and a default namespace.

    Parameters
    ----------
    like
        A kubeconfig of one context with everything inside.
    """
    document = yaml.safe_load(like.read_text(encoding="utf-8"))
    name = document["current-context"]
    (context,) = document["contexts"]
    context["context"] = {"cluster": context["context"]["cluster"], "user": name, "namespace": namespace}
    document["users"] = [{"name": name, "user": {"token": token}}]
    return _save(path, document)


def _write(path: Path, server: str, pki: Pki, user: dict[str, str]) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [
            {"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": _encoded(pki / "ca.crt")}}
        ],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
    }
    return _save(path, document)


def _save(path: Path, document: dict[str, Any]) -> Path:
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
