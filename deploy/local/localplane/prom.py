"""A real Prometheus process that finds its targets by HTTP or by file. Imports PyYAML and the launcher's parts."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import yaml

from localplane.errors import LocalPlaneError
from localplane.ports import free_port
from localplane.processes import Process, Processes
from localplane.toolset import Tools
from localplane.waiting import wait_for

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus:
    """A Prometheus that runs while its ``with`` block does; its port and data outlive a stop.

    Parameters
    ----------
    run_dir
        Folder for configuration, data and log.
    tools
        The binaries.
    sd_urls
        URLs of HTTP service discovery (such as the emulator's ``/sd``), asked once a second.
    scrape_interval
        Between two scrapes, as Prometheus writes durations.
    static_targets
        ``host:port/path`` of further targets, with their labels: each becomes a scrape job of its own.
    processes
        Where to start it; its own list by default.
    """

    def __init__(
        self,
        run_dir: Path,
        tools: Tools,
        sd_urls: Sequence[str] = (),
        *,
        scrape_interval: str = "1s",
        static_targets: Mapping[str, Mapping[str, str]] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.run_dir = run_dir.resolve()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._tools = tools
        self._processes = Processes(self.run_dir) if processes is None else processes
        self._process: Process | None = None
        self._config = self.run_dir / "prometheus.yml"
        self.file_sd = self.run_dir / "targets.json"
        """Targets by file, read again when it changes: ``[{"targets": ["127.0.0.1:1"], "labels": {…}}]``."""
        if not self.file_sd.exists():
            self.file_sd.write_text("[]", encoding="utf-8")
        document = _configuration(sd_urls, scrape_interval, static_targets or {}, self.file_sd)
        self._config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    @property
    def url(self) -> str:
        """Base URL; the same after a restart."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Folder of its storage."""
        return self.run_dir / "data"

    @property
    def process(self) -> Process:
        """The running process."""
        if self._process is None:
            raise LocalPlaneError("Prometheus is not running")
        return self._process

    def start(self) -> None:
        """Start it and wait until it answers queries."""
        self._process = self._processes.start(
            "prometheus",
            [
                self._tools["prometheus"],
                f"--config.file={self._config}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-lifecycle",
                f"--storage.tsdb.path={self.data}",
                "--storage.tsdb.retention.time=1d",
                "--log.level=warn",
            ],
        )
        wait_for("Prometheus to be ready", self._ready, 60.0, detail=f"log: {self._process.log}")

    def stop(self) -> None:
        """End it in good order; :meth:`start` continues with its data."""
        if self._process is not None:
            self._process.stop()
            self._gone()

    def kill(self) -> None:
        """End it at once, as a crash would; :meth:`start` recovers its data."""
        if self._process is not None:
            self._process.kill()
            self._gone()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._processes.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query.

        Raises
        ------
        LocalPlaneError
            If Prometheus does not answer or refuses the query.
        """
        try:
            with _DIRECT.open(f"{self.url}/api/v1/query?{urlencode({'query': expression})}", timeout=10) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            raise LocalPlaneError(f"Prometheus refused {expression}: {error.read().decode()[:500]}") from error
        except OSError as error:
            raise LocalPlaneError(f"Prometheus at {self.url} does not answer: {error}") from error
        result: list[dict[str, Any]] = document["data"]["result"]
        return result

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _gone(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._processes.forget(process)

    def _ready(self) -> bool:
        self.process.check()
        try:
            with _DIRECT.open(f"{self.url}/-/ready", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False


def _configuration(
    sd_urls: Sequence[str], scrape_interval: str, static_targets: Mapping[str, Mapping[str, str]], file_sd: Path
) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = [
        {"job_name": f"http-{number}", "http_sd_configs": [{"url": url, "refresh_interval": "1s"}]}
        for number, url in enumerate(sd_urls)
    ]
    jobs.append(
        {"job_name": "file", "file_sd_configs": [{"files": [str(file_sd)], "refresh_interval": "1s"}]},
    )
    for number, (address, labels) in enumerate(static_targets.items()):
        host, _, path = address.removeprefix("http://").partition("/")
        jobs.append(
            {
                "job_name": f"static-{number}",
                "metrics_path": "/" + (path or "metrics"),
                "static_configs": [{"targets": [host], "labels": dict(labels)}],
            }
        )
    interval = {"scrape_interval": scrape_interval, "scrape_timeout": scrape_interval, "evaluation_interval": "1s"}
    return {"global": interval, "scrape_configs": jobs}
