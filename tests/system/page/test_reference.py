"""The reference at `/api/docs` in a real browser: it finds, folds, and never complains."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kronforce_gateway.app import Gateway
from kronforce_gateway.listener import Listener
from tests.fakes.browser import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")


class NoTransport:
    """The page needs nothing but its files."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    made: Any = NoTransport()
    listener = Listener(Gateway(made), bind="127.0.0.1:0")
    await listener.start()
    yield f"http://127.0.0.1:{listener.port}/api/docs"
    await listener.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with Browser.start(chromium) as made:
        yield made


async def opened(browser: Browser, url: str) -> Page:
    page = await browser.page()
    await page.open(url)
    await page.until("document.querySelectorAll('article').length > 50")
    return page


async def test_a_search_leaves_what_it_finds_and_stays_in_the_address(
    browser: Browser, url: str
) -> None:
    page = await opened(browser, url)
    await page.press("/")
    await page.type("#search", "createjob")
    shown = "[...document.querySelectorAll('article')].filter((a) => !a.hidden).map((a) => a.id)"
    await page.until(f"({shown}).join() === 'CreateJob'")
    assert await page.run("location.search") == "?q=createjob"
    assert page.complaints == []


async def test_the_address_names_the_call_and_its_parts_unfold(browser: Browser, url: str) -> None:
    page = await opened(browser, f"{url}?q=CreateJob#CreateJob")
    await page.click("#CreateJob section details summary")
    await page.until_text("TaskInput", "#CreateJob")
    await page.run("[...document.querySelectorAll('#CreateJob details')].at(-1).open = true")
    text = await page.text("#CreateJob")
    assert "Authorization: Bearer $KEY" in text
    assert "Only come back, and are ignored here: id" in text
    assert "undefined" not in text
    assert "[object" not in text
    assert page.complaints == []


async def test_every_part_of_every_call_can_be_shown(browser: Browser, url: str) -> None:
    page = await opened(browser, url)
    # Each opening may bring further ones; free JSON nests no further.
    for _ in range(6):
        await page.run(
            "document.querySelectorAll('details:not([open])').forEach((d) => d.open = 1)"
        )
    await page.until("document.querySelectorAll('dl.fields').length > 100")
    text = await page.run("document.querySelector('main').textContent")
    assert "undefined" not in text
    assert "[object" not in text
    assert page.complaints == []
