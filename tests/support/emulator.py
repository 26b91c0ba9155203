"""A running ``pdscaler emulate`` for tests that put real parts around it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EmulatorProcess:
    """``pdscaler emulate`` on a free port; ended with the ``with`` block.

    Parameters
    ----------
    folder
        Where its files go.
    document
        The PDDeployment.
    phases
        Content of the phases file.
    arguments
        Further arguments.
    """

    def __init__(
        self, folder: Path, document: Mapping[str, Any], phases: Sequence[Mapping[str, Any]], *arguments: str
    ) -> None:
        self.records = folder / "records.csv"
        (folder / "pdd.yaml").write_text(yaml.safe_dump(dict(document)), encoding="utf-8")
        (folder / "phases.yaml").write_text(yaml.safe_dump({"phases": list(phases)}), encoding="utf-8")
        self._log = folder / "emulator.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "pdscaler", "emulate", "-f", "pdd.yaml", "--phases", "phases.yaml",
                    "--records", str(self.records), "--listen", "127.0.0.1:0", "--linger", *arguments,
                ],
                cwd=folder,
                stdout=log,
                stderr=subprocess.PIPE,
                text=True,
            )  # fmt: skip
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert " at http://" in line, line
        self.url = line.split(" at ")[1].split()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=10)
        finally:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> str:
        """Body of a path."""
        with _DIRECT.open(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def stats(self) -> dict[str, Any]:
        """What ``/stats`` says."""
        document: dict[str, Any] = json.loads(self.get("/stats"))
        return document

    def pods(self) -> set[str]:
        """Pods that the service discovery lists."""
        return {target["labels"]["pod"] for target in json.loads(self.get("/sd")) if "pod" in target["labels"]}
