"""The page at `/` in a real browser, on a real controller and agent, through a proxy that cuts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kronforce.v1.job_pb2 import Job
from kronforce_client.dialect import parse
from tests.fakes.browser import Browser, Page
from tests.fakes.tcp_proxy import TcpProxy
from tests.system.rig.cluster import ADMIN_KEY, Cluster, cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

TALK = (
    r"printf '\033[1;32mgreen\033[0m <b>no markup</b> \033]0;title\007end\n';"
    " echo wrong >&2; echo for {{params.env}}"
)
# Lines until a file is there.
COUNT = "i=0; while [ ! -e {{params.gate}} ]; do i=$((i+1)); echo line $i; sleep 0.05; done"


class Site:
    """A controller with its page, as a browser sees it."""

    def __init__(self, made: Cluster, browser: Browser, proxy: TcpProxy) -> None:
        self.cluster = made
        self.browser = browser
        self.proxy = proxy

    @property
    def url(self) -> str:
        return f"http://{self.proxy.address}"

    async def signed_in(self, view: str = "/") -> Page:
        page = await self.browser.page()
        await page.open(f"{self.url}/#{view}")
        await page.type("input[name=key]", ADMIN_KEY)
        await page.click("button[type=submit]")
        await page.until_text("Sign out", "#top")
        return page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> AsyncIterator[Site]:
    async with cluster(tmp_path_factory.mktemp("page"), "") as made:
        await made.start_controller(KRONFORCE_BIND="127.0.0.1:0", KRONFORCE_TRUST_OPERATORS="true")
        await made.start_agent()
        endpoint = json.loads((made.data_dir / "endpoint.json").read_text())
        target = endpoint["http"].removeprefix("http://")
        async with TcpProxy(target) as proxy, Browser.start(chromium) as browser:
            yield Site(made, browser, proxy)


async def make(site: Site, name: str, command: str, **more: Any) -> None:
    spec = {
        "name": name,
        "task": {"type": "shell", "command": command},
        "target": {"type": "any"},
        **more,
    }
    await site.cluster.client.jobs.create(parse(Job, spec))


async def test_a_person_signs_in_runs_a_job_and_reads_what_it_says(site: Site) -> None:
    choice = {"name": "env", "param_type": "select", "options": ["test", "live"], "required": True}
    await make(site, "talk", TALK, parameters=[choice])
    page = await site.browser.page()
    await page.open(site.url)
    await page.type("input[name=key]", "kf_wrong")
    await page.click("button[type=submit]")
    await page.until_text("the key is unknown", ".problem")
    await page.run("document.querySelector('input[name=key]').select()")
    await page.type("input[name=key]", ADMIN_KEY)
    await page.click("button[type=submit]")
    await page.click('button[aria-label="Run talk"]')
    await page.until_text("Run it now")
    await page.click("form.params button")
    await page.until_text("succeeded", ".title")
    await page.until_text("for test", ".term")
    await page.until_text("Succeeded", ".why")

    lines = await page.run("[...document.querySelectorAll('.term .line')].map((l) => l.innerText)")
    assert sorted(lines) == ["for test", "green <b>no markup</b> end", "wrong"]
    assert await page.text(".term .f2.bold") == "green"
    assert await page.text(".term .err") == "wrong"
    assert await page.run("document.title") == "talk succeeded · Kronforce"
    refused = [each for each in page.complaints if "401" not in each]
    assert refused == []


async def test_the_address_shows_the_same_view_again(site: Site) -> None:
    await make(site, "again", "echo once")
    page = await site.signed_in("/jobs/again")
    await page.until_text("again", "h1")
    await page.run("window.before = true; location.reload()")
    await page.until("!window.before && document.querySelector('h1')?.innerText === 'again'")

    assert await page.run("location.hash") == "#/jobs/again"
    assert page.complaints == []


async def test_output_goes_on_after_a_cut_without_a_gap_or_a_repeat(
    site: Site, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    await make(site, "count", COUNT, parameters=[{"name": "gate", "required": True}])
    made = await site.cluster.client.jobs.trigger("count", params={"gate": str(gate)})
    page = await site.signed_in(f"/runs/{made.run.id}")
    await page.until_text("line 5", ".term")
    site.proxy.refuse()
    await page.until_text("connection lost", "#connection")
    site.proxy.heal()
    await page.until_text("live", "#connection")
    gate.touch()
    await page.until_text("succeeded", ".title")

    lines = await page.run("[...document.querySelectorAll('.term .line')].map((l) => l.innerText)")
    assert lines == [f"line {number + 1}" for number in range(len(lines))]
    assert len(lines) >= 5


async def test_a_run_is_cancelled_from_the_page(site: Site) -> None:
    await make(site, "long", "echo begun; exec sleep 600")
    made = await site.cluster.client.jobs.trigger("long")
    page = await site.signed_in(f"/runs/{made.run.id}")
    await page.until_text("begun", ".term")
    await page.click(".danger")
    await page.until_text("cancelled", ".title")

    assert page.complaints == []


async def test_who_signs_out_sees_nothing_any_more(site: Site) -> None:
    page = await site.signed_in()
    await page.until_text("Last runs")
    await page.click("#sign-out")
    await page.until_text("API key")

    assert await page.run("fetch('/api/jobs').then((answer) => answer.status)") == 401
    assert "Last runs" not in await page.text()


async def test_what_is_searched_stands_in_the_address(site: Site) -> None:
    await make(site, "needle", "true")
    page = await site.signed_in()
    await page.until_text("needle", "main")
    await page.press("/")
    await page.type('input[type="search"]', "needl")
    await page.until("document.querySelectorAll('tbody')[0].rows.length === 1")

    assert await page.run("location.hash") == "#/?search=needl"
