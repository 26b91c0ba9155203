"""A real Prometheus: found targets, and the same data after a stop and after a crash."""

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from localplane.errors import LocalPlaneError
from localplane.prom import Prometheus
from localplane.waiting import wait_for


class _Exporter(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        address = self.headers["Host"]
        if self.path == "/sd":
            kind = "application/json"
            body = f'[{{"targets": ["{address}"], "labels": {{"pod": "p-0", "__metrics_path__": "/pod"}}}}]'
        else:
            kind = "text/plain; version=0.0.4"
            body = "# TYPE answer gauge\nanswer 42\n"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def exporter() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Exporter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_it_scrapes_and_keeps_its_data(prometheus: Callable[..., Prometheus], exporter: str) -> None:
    server = prometheus(sd_urls=[f"{exporter}/sd"], static_targets={f"{exporter}/metrics": {"pod": "fixed"}})

    def pods() -> list[str]:
        return sorted(series["metric"]["pod"] for series in server.query("answer == 42"))

    wait_for("both targets", lambda: pods() == ["fixed", "p-0"])
    first_s = float(server.query("answer{pod='p-0'}[1h]")[0]["values"][0][0])
    url = server.url
    server.stop()
    with pytest.raises(LocalPlaneError, match="does not answer"):
        server.query("answer")
    server.start()
    server.kill()
    server.start()
    assert server.url == url
    kept = wait_for("its data", lambda: server.query("answer{pod='p-0'}[1h]"))
    assert float(kept[0]["values"][0][0]) == first_s


def test_a_refused_query_is_said(prometheus: Callable[..., Prometheus]) -> None:
    with pytest.raises(LocalPlaneError, match="refused sum\\("):
        prometheus().query("sum(")
