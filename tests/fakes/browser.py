"""A real browser, driven over its debugging pipe: open a page, look at it, press what is on it.

`Browser.start` gives one with a profile of its own; `page` opens a tab. What the page logs as an
error, and what it throws, is kept in `complaints`: a test asks that there were none.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe", "--window-size=1280,900",
    "--hide-scrollbars", "about:blank",
)  # fmt: skip
# The browser reads what it is told from descriptor 3 and answers on 4.
WITH_PIPES = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
LIMIT_SECS = 30.0
POLL_SECS = 0.05
# A screenshot is one message.
MAX_MESSAGE = 64 << 20


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []

    async def send(self, method: str, **params: Any) -> Any:
        return await self._browser.send(method, session=self._session, **params)

    async def open(self, url: str) -> None:
        await self.send("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        done = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            raise AssertionError(json.dumps(done["exceptionDetails"])[:2_000])
        return done["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true; its value."""
        try:
            async with asyncio.timeout(LIMIT_SECS):
                while not (value := await self.run(script)):  # noqa: ASYNC110 - it is far away
                    await asyncio.sleep(POLL_SECS)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(f"never true: {script}\n{self.complaints}\n{text}") from None
        return value

    async def text(self, selector: str = "body") -> str:
        found = json.dumps(selector)
        return str(await self.run(f"document.querySelector({found})?.innerText ?? ''"))

    async def until_text(self, part: str, selector: str = "body") -> None:
        found, wanted = json.dumps(selector), json.dumps(part)
        await self.until(f"(document.querySelector({found})?.innerText ?? '').includes({wanted})")

    async def click(self, selector: str) -> None:
        """Press what is there, once it is."""
        found = json.dumps(selector)
        await self.until(f"document.querySelector({found}) !== null")
        await self.run(f"document.querySelector({found}).click()")

    async def type(self, selector: str, text: str) -> None:
        found = json.dumps(selector)
        await self.until(f"document.querySelector({found}) !== null")
        await self.run(f"document.querySelector({found}).focus()")
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, **text)

    async def offline(self, away: bool) -> None:
        await self.send("Network.emulateNetworkConditions", offline=away, latency=0,
                        downloadThroughput=-1, uploadThroughput=-1)  # fmt: skip

    async def dark(self) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark"}
        await self.send("Emulation.setEmulatedMedia", features=[feature])

    async def size(self, width: int, height: int) -> None:
        await self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                        deviceScaleFactor=1, mobile=False)  # fmt: skip

    async def screenshot(self, path: Path) -> None:
        shot = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))


class Browser:
    """A process with its pipe."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}

    @classmethod
    @asynccontextmanager
    async def start(cls, program: str) -> AsyncIterator[Browser]:
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        with tempfile.TemporaryDirectory(
            prefix="kronforce-browser-", ignore_cleanup_errors=True
        ) as profile:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", WITH_PIPES, str(to_read), str(from_write),
                program, f"--user-data-dir={profile}", *FLAGS,
                pass_fds=(to_read, from_write), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            os.close(to_read)
            os.close(from_write)
            reader = asyncio.StreamReader(limit=MAX_MESSAGE)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_read, "rb")
            )
            browser = cls(reader, to_write)
            listening = asyncio.create_task(browser._listen())
            try:
                yield browser
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                transport.close()
                os.close(to_write)
                # Its pipe is closed: it ends by itself, its helpers too.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), LIMIT_SECS)
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def page(self) -> Page:
        """A new tab, as of a person who was never here."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self, attached["sessionId"])
        self._pages[attached["sessionId"]] = page
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.send(f"{domain}.enable")
        return page

    async def send(self, method: str, *, session: str = "", **params: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        return await asyncio.wait_for(answer, LIMIT_SECS)

    async def _listen(self) -> None:
        while True:
            message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if "id" in message:
                answer = self._waiting.pop(message["id"])
                if "error" in message:
                    answer.set_exception(AssertionError(str(message["error"])))
                else:
                    answer.set_result(message["result"])
            elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
                _note(page, message["method"], message["params"])


def _note(page: Page, method: str, params: Any) -> None:
    """Keep what the page throws, and what its policy or the browser complains of."""
    if method == "Runtime.exceptionThrown":
        page.complaints.append(json.dumps(params["exceptionDetails"])[:1_000])
    elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
        page.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
    elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
        page.complaints.append(json.dumps(params["args"])[:1_000])
