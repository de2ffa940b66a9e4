"""A headless Chromium for tests of the pages, spoken to over two pipes (the DevTools protocol): nothing to install but it."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import guard
from tests.harness import eventually

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-pipe",
    # Else each page that is opened starts a process, and one more for the page that may follow: half of all the time.
    "--renderer-process-limit=1",
    "--disable-site-isolation-trials",
    "--disable-features=SpareRendererForSitePerProcess,IsolateOrigins,site-per-process,BackForwardCache",
    "--in-process-gpu",
]
ANSWER_S = 60
NAMED = {
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Delete": 46,
    "?": 191,
    "/": 191,
}


def chromium_binary() -> str:
    """The test is skipped without one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or pytest.skip("no Chromium here")


class Browser:
    """One tab. What its console said, what the page threw and what could not be loaded is kept in ``complaints``."""

    def __init__(self) -> None:
        binary = chromium_binary()
        self.folder = tempfile.mkdtemp(prefix="jobqueue-browser-")
        there, self._commands = os.pipe()
        self._answers, back = os.pipe()
        # It reads from 3 and writes to 4; Python's own child ends may stand anywhere.
        line = f'exec 3<&{there} 4>&{back}; exec "$@"'
        self.process = guard.start(
            ["bash", "-c", line, "-", binary, *FLAGS, f"--user-data-dir={self.folder}", "about:blank"],
            pass_fds=(there, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TMPDIR": self.folder},
        )
        os.close(there), os.close(back)
        self.complaints: list[str] = []
        self.loads: list[tuple[str, int]] = []  # addresses, and the bytes that came for each, headers included
        self._asked: dict[str, str] = {}
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._count, self._session, self._profile = 0, "", ""
        threading.Thread(target=self._read, daemon=True).start()
        self.begin()

    def begin(self) -> None:
        """Another tab instead of the one before, of a profile that knows nothing."""
        before, self._session = self._profile, ""
        self._profile = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=self._profile)["targetId"]
        if before:
            self.call("Target.disposeBrowserContext", browserContextId=before)
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.complaints.clear(), self.loads.clear(), self._asked.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _read(self) -> None:
        """A message ends with a NUL. Answers are for the caller, events are looked through here."""
        with open(self._answers, "rb", buffering=0) as pipe:
            rest = b""
            while data := pipe.read(65536):
                *messages, rest = (rest + data).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._told.put(message)
                    elif message.get("sessionId") == self._session:
                        self._heard(message["method"], message["params"])

    def _heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Network.requestWillBeSent":
            self._asked[params["requestId"]] = params["request"]["url"]
        elif method == "Network.loadingFinished":
            self.loads.append((self._asked[params["requestId"]], round(params["encodedDataLength"])))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        command: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        answer = self._told.get(timeout=ANSWER_S)
        assert answer["id"] == self._count and "error" not in answer, answer
        return dict(answer["result"])

    def run(self, script: str) -> Any:
        """The value of an expression, or of what it promises, in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, url: str, width: int = 1300, until: str = "true", dark: bool = False) -> None:
        """Show a page in a window of that width, and wait until an expression in it is true."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        eventually(lambda: self.run("location.href"), equals="about:blank", within_s=30)
        self.complaints.clear()
        self.call("Page.navigate", url=url)
        eventually(lambda: self.run(f"document.readyState === 'complete' && ({until})"), within_s=30)

    def in_another_tab(self, url: str, script: str) -> None:
        """Run a script on a page in a second tab of the same profile, which is then closed."""
        mine, self._session = self._session, ""
        target = self.call("Target.createTarget", url=url, browserContextId=self._profile)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        eventually(lambda: self.run("location.href"), equals=url, within_s=30)
        self.run(script)
        self._session = ""
        self.call("Target.closeTarget", targetId=target)
        self._session = mine

    def slow_down(self, kbit_s: float, latency_ms: float) -> None:
        """What comes takes that long from now on; 0, 0: as fast as it can."""
        rate = kbit_s * 125 or -1
        conditions = {"latency": latency_ms, "downloadThroughput": rate, "uploadThroughput": rate}
        self.call("Network.emulateNetworkConditions", offline=False, **conditions)

    def may_copy(self) -> None:
        """Let the page write to the clipboard, and the test read it."""
        permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        self.call("Browser.grantPermissions", permissions=permissions, browserContextId=self._profile)

    def see(self, expression: str, equals: Any = True, within_s: float = 20.0) -> Any:
        """Wait until an expression has a value (or one that satisfies a function); an error counts as not yet."""
        return eventually(
            lambda: self.run(f"(() => {{ try {{ return {expression} }} catch {{}} }})()"),
            equals=equals,
            within_s=within_s,
        )

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the first element that matches."""
        self.click_on(f"document.querySelector({json.dumps(selector)})")

    def click_on(self, element: str) -> None:
        """The same for an expression."""
        self.see(f"{element}?.isConnected && !{element}.disabled")
        place = f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}}), {element}.getBoundingClientRect().toJSON()"
        box = self.run(place)
        middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for event in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=event, button="left", clickCount=1, **middle)

    def write(self, text: str) -> None:
        """Where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, *keys: str) -> None:
        """Keys by their names; a capital letter is typed with Shift."""
        for key in keys:
            code = NAMED.get(key) or ord(key.upper())
            text = {"Enter": "\r", "Tab": ""}.get(key, key if len(key) == 1 else "")
            common = {
                "key": key,
                "windowsVirtualKeyCode": code,
                "modifiers": 8 if key.isupper() and len(key) == 1 else 0,
            }
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, path: Path, whole: bool = False) -> None:
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        guard.forget(self.process.pid)
        os.close(self._commands)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def browser() -> Iterator[Browser]:
    opened = Browser()
    try:
        yield opened
    finally:
        opened.close()
