"""A Chromium of our own, spoken to over its debugging protocol: real mouse, real keys."""

from __future__ import annotations

import asyncio
import base64
import importlib
import itertools
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
    # Nothing but the host under test can be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
START_SECONDS, CALL_SECONDS = 120, 120
BUTTONS = {"left": 1, "right": 2, "middle": 4}
SHIFT, CONTROL = 8, 2

#: Keys that are not letters: the key's code and its number.
NUMBERS = {
    "Tab": 9, "Enter": 13, "Escape": 27, "Delete": 46,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip


class Page:
    """One tab."""

    def __init__(self, executable: str, folder: Path, width: int, height: int) -> None:
        self.log = folder / "chromium.txt"
        size = f"--window-size={width},{height}"
        with self.log.open("w") as sink:
            self.process = subprocess.Popen(
                [executable, *FLAGS, size, f"--user-data-dir={folder / 'profile'}", "about:blank"],
                stderr=sink,
                stdout=subprocess.DEVNULL,
            )
        self.loop = asyncio.new_event_loop()
        self.aiohttp = importlib.import_module("aiohttp")  # every ComfyUI has it
        self.numbers = itertools.count(1)
        self.errors: list[str] = []
        self.loop.run_until_complete(self._connect())
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.resize(width, height)

    def close(self) -> None:
        self.loop.run_until_complete(self._disconnect())
        self.process.terminate()
        self.process.wait(timeout=60)
        self.loop.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self.loop.run_until_complete(self._call(method, parameters))

    # --- page ---

    def resize(self, width: int, height: int, density: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=density, mobile=False,
        )  # fmt: skip

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, waited for where it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}\n{json.dumps(answer['exceptionDetails'])[:2000]}")
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """Waits until an expression is true; its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise AssertionError(f"not true after {seconds} s: {script}\n{self.errors[-5:]}")

    def picture(self) -> bytes:
        """The screen as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(self.picture())

    # --- mouse and keys ---

    def mouse(self, kind: str, x: float, y: float, button: str = "none", **more: Any) -> None:
        buttons = BUTTONS.get(button, 0) if kind != "mouseReleased" else 0
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=buttons, **more
        )

    def drag(
        self, start: tuple[float, float], end: tuple[float, float], modifiers: int = 0
    ) -> None:
        more = {"modifiers": modifiers}
        self.mouse("mouseMoved", *start, **more)
        self.mouse("mousePressed", *start, "left", clickCount=1, **more)
        for step in (0.3, 0.7, 1.0):
            at = [a + (b - a) * step for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", *at, "left", **more)
        self.mouse("mouseReleased", *end, "left", clickCount=1, **more)

    def click(self, x: float, y: float, button: str = "left", count: int = 1) -> None:
        self.mouse("mouseMoved", x, y)
        for number in range(1, count + 1):
            self.mouse("mousePressed", x, y, button, clickCount=number)
            self.mouse("mouseReleased", x, y, button, clickCount=number)

    def key(self, key: str, modifiers: int = 0) -> None:
        code = NUMBERS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        name = f"Key{key.upper()}" if re.fullmatch("[a-zA-Z]", key) else key
        event: dict[str, Any] = {
            "key": key, "code": name, "windowsVirtualKeyCode": code, "modifiers": modifiers
        }  # fmt: skip
        text = {"text": key} if len(key) == 1 and not modifiers & CONTROL else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    # --- protocol ---

    async def _connect(self) -> None:
        address = await self._address()
        self.session = self.aiohttp.ClientSession()
        async with self.session.get(f"{address}/json/list") as reply:
            (target,) = (page for page in await reply.json() if page["type"] == "page")
        self.socket = await self.session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)

    async def _address(self) -> str:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            text = self.log.read_text(encoding="utf-8", errors="replace")
            if match := re.search(r"DevTools listening on ws://([^/]+)/", text):
                return f"http://{match.group(1)}"
            assert self.process.poll() is None, f"Chromium ended at once:\n{text[-3000:]}"
            await asyncio.sleep(0.1)
        raise AssertionError("Chromium did not start")

    async def _disconnect(self) -> None:
        await self.socket.close()
        await self.session.close()

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self.socket.receive(CALL_SECONDS)).data)
            if message.get("method") == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                if not _of_the_front_end(details):
                    self.errors.append(json.dumps(details)[:2000])
            if message.get("method") == "Page.javascriptDialogOpening":
                await self.socket.send_json(
                    {"id": next(self.numbers), "method": "Page.handleJavaScriptDialog",
                     "params": {"accept": True}}
                )  # fmt: skip
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]


def _of_the_front_end(details: dict[str, Any]) -> bool:
    """Whether an error is the one that front end 1.27 shows on every first load, without any pack.

    While it registers its settings it sets one that it registers later ("reading 'id'").
    """
    frames = details.get("stackTrace", {}).get("callFrames", [])
    registers = any(frame["functionName"] == "addSetting" for frame in frames)
    return registers and all("/assets/" in frame["url"] for frame in frames)
