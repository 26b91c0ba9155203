"""A real browser for tests: Chromium over its DevTools protocol, as a person's would show a page.

Whatever of the Chromium family is on the PATH is taken; ``PDSCALER_BROWSER`` names another one. Run as a module it
prints the marker expression for pytest that leaves out what needs a browser where there is none.
"""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome-headless-shell",
    "chromium-headless-shell",
    "microsoft-edge",
)
DEADLINE_S = 60.0


def find_browser() -> str | None:
    """The browser's program; None where there is none."""
    return os.environ.get("PDSCALER_BROWSER") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab, spoken to by the DevTools protocol; it keeps what the page asked for and complained of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session: str | None = None
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self.requested: list[str] = []
        self.complaints: list[str] = []

    async def _read(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            else:
                self._event(told.get("method", ""), told.get("params", {}))

    def _event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; what it returns."""
        self._number += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        message = {"id": self._number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        told = await asyncio.wait_for(answer, DEADLINE_S)
        assert "error" not in told, f"{method}: {told['error']}"
        result: dict[str, Any] = told["result"]
        return result

    async def close(self) -> None:
        """Stop listening."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def begin(self) -> None:
        """Open the tab and listen."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            await self.call(f"{domain}.enable")

    async def open(self, path: Path) -> None:
        """Show a file, and wait until it has loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=path.as_uri())
        await asyncio.wait_for(self._loaded.wait(), DEADLINE_S)

    async def look(self, *, width: int = 1280, height: int = 900, scheme: str = "light", media: str = "screen") -> None:
        """Set the size of the window, the colour scheme, and screen or print."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", media=media, features=features)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    async def press(self, key: str, code: int) -> None:
        """Press a key that writes nothing, such as an arrow."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    async def picture(self) -> bytes:
        """A PNG of the whole page."""
        told = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(told["data"])

    async def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode((await self.call("Page.printToPDF", preferCSSPageSize=True))["data"])


@asynccontextmanager
async def open_browser(program: str) -> AsyncIterator[Page]:
    """Start a browser of its own, without a network, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        with (profile / "said").open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                program,
                "--headless",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-dev-shm-usage",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        try:
            address = await asyncio.wait_for(_address(profile, process), DEADLINE_S)
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                await page.begin()
                yield page
                await page.close()
        finally:
            # Its helpers are in its group: they end with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _address(profile: Path, process: asyncio.subprocess.Process) -> str:
    """Wait for the file in which the browser says where it listens."""
    told = profile / "DevToolsActivePort"
    while not (told.exists() and len(told.read_text().splitlines()) == 2):
        assert process.returncode is None, f"the browser did not start: {(profile / 'said').read_text()}"
        await asyncio.sleep(0.02)
    port, path = told.read_text().splitlines()
    return f"ws://127.0.0.1:{port}{path}"


if __name__ == "__main__":
    if find_browser() is None:
        print("No Chromium on the PATH: what looks at the report in a browser is left out", file=sys.stderr)
        print(" and not browser")
