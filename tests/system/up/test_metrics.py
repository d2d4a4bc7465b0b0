"""/metrics of a controller as it is put together, and that what we ship asks for what is there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from kronforce import app
from kronforce.clock import SystemClock
from kronforce.config import CannotStart, load
from kronforce.telemetry.metrics import DB_XMIN_AGE, FAMILIES
from kronforce.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

PROMTOOL = Path(__file__).resolve().parents[2] / "services" / "promtool.py"
PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
RULES = PACKAGING / "prometheus" / "alerts.yaml"
DASHBOARD = PACKAGING / "grafana" / "kronforce.json"
LIMIT_SECS = 20
# Prometheus's own.
ADDED = {"instance", "job"}
# name{label="value", …}
SELECTOR = re.compile(r"\b(kronforce_\w+|process_\w+|up)\b(?:\{([^}]*)\})?")


@asynccontextmanager
async def serving(folder: Path, **flags: Any) -> AsyncIterator[dict[str, Any]]:
    """A controller; what it says of itself to the command on this host."""
    folder.mkdir(mode=0o700, exist_ok=True)  # noqa: ASYNC240 - a test's own folder
    wanted = {"data_dir": folder, "grpc_bind": "127.0.0.1:0", "bind": "off", **flags}
    async with app.controller(load(wanted, {}), clock=SystemClock()):
        yield json.loads((folder / "endpoint.json").read_text())


async def scrape(address: str) -> tuple[str, str]:
    """Head and body."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(LIMIT_SECS):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
    head, _, body = text.partition("\r\n\r\n")
    return head, body


async def until_scraped(address: str, part: str) -> tuple[str, str]:
    """Jobs are counted a moment after the start."""
    async with asyncio.timeout(LIMIT_SECS):
        while part not in (answer := await scrape(address))[1]:  # noqa: ASYNC110 - as Prometheus does
            await asyncio.sleep(0.1)
        return answer


async def make_job(address: str, key: str) -> None:
    job = job_pb2.Job(name="nightly")
    job.task.shell.command = "true"
    job.schedule.on_demand.SetInParent()
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
        request = job_service_pb2.CreateJobRequest(job=job)
        await stub.CreateJob(request, metadata=(("authorization", f"Bearer {key}"),))


def promtool() -> str:
    """Prometheus' own tool; skips where it cannot be had."""
    found = subprocess.run(
        [sys.executable, str(PROMTOOL)], capture_output=True, text=True, check=False
    )
    if found.returncode and not os.environ.get("CI"):
        pytest.skip("promtool cannot be fetched: it needs Debian's apt")
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def labels_by_name(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    async def once() -> tuple[str, str]:
        folder = tmp_path_factory.mktemp("metrics") / "data"
        async with serving(folder, metrics_bind="0", bind="127.0.0.1:0") as endpoint:
            await make_job(endpoint["address"], (folder / "admin.key").read_text().strip())
            await scrape(endpoint["http"].removeprefix("http://"))
            await until_scraped(endpoint["metrics"], "kronforce_jobs_total ")
            return await until_scraped(endpoint["metrics"], "kronforce_http_requests_total{")

    return asyncio.run(once())


def test_every_family_is_served_in_the_form_that_prometheus_reads(scraped: tuple[str, str]) -> None:
    head, body = scraped
    of_sqlite = {family.name for family in FAMILIES} - {DB_XMIN_AGE.name}

    served = set(re.findall(r"^# TYPE (kronforce_\w+)", body, re.MULTILINE))

    assert served == of_sqlite
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert 'kronforce_calls_total{code="OK",method="/kronforce.v1.JobService/CreateJob"} 1' in body
    assert 'kronforce_jobs_by_task_type{task_type="shell"} 1' in body
    assert "kronforce_db_ok 1" in body
    assert "process_resident_memory_bytes" in body


async def test_the_gateways_port_serves_the_same_page_without_being_asked_to(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    async with serving(folder, bind="127.0.0.1:0") as endpoint:
        await make_job(endpoint["address"], (folder / "admin.key").read_text().strip())
        head, body = await scrape(endpoint["http"].removeprefix("http://"))

    assert "200 OK" in head
    assert "content-type: text/plain; version=0.0.4; charset=utf-8" in head
    served = set(re.findall(r"^# TYPE (kronforce_\w+)", body, re.MULTILINE))
    assert served == {family.name for family in FAMILIES} - {DB_XMIN_AGE.name}
    assert "kronforce_jobs_total 1" in body


def test_promtool_can_read_all_of_it(scraped: tuple[str, str]) -> None:
    checked = subprocess.run(
        [promtool(), "check", "metrics"],
        input=scraped[1],
        capture_output=True,
        text=True,
        check=False,
    )

    # 3: read, with remarks on names, of which three are documented promises; 1: not read.
    assert checked.returncode == 3, checked.stderr
    remarks = {line.split(" ")[0] for line in checked.stderr.splitlines()}
    assert remarks == {"kronforce_jobs_total", "kronforce_agents_total", "kronforce_groups_total"}


async def test_on_postgresql_it_tells_of_open_transactions_and_of_no_log(
    postgres_database_url: str, tmp_path: Path
) -> None:
    async with serving(tmp_path / "data", metrics_bind="0", db=postgres_database_url) as endpoint:
        _, body = await scrape(endpoint["metrics"])

    names = labels_by_name(body)
    assert DB_XMIN_AGE.name in names
    assert "kronforce_db_wal_size_bytes" not in names
    assert 'kronforce_build_info{store="postgresql"' in body


async def test_nothing_is_served_that_nobody_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as endpoint:
        assert "metrics" not in endpoint


async def test_a_port_that_is_taken_stops_the_start_with_the_way_out(tmp_path: Path) -> None:
    async with serving(tmp_path / "one", metrics_bind="0") as endpoint:
        with pytest.raises(CannotStart, match="--metrics-bind"):
            async with serving(tmp_path / "two", metrics_bind=endpoint["metrics"]):
                pass


def alerts() -> list[dict[str, Any]]:
    content = YAML(typ="safe").load(RULES.read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def dashboard_targets() -> Iterator[tuple[str, dict[str, str]]]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target


def check(expression: str, texts: str, known: dict[str, set[str]]) -> None:
    """Every name is served, and every label that it is asked by."""
    found = SELECTOR.findall(expression)
    assert found
    of_all: set[str] = set()
    for name, matchers in found:
        assert name in known or name == DB_XMIN_AGE.name, name
        labels = known.get(name, set()) | ADDED
        of_all |= labels
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= labels, name
    grouped = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", expression)
    named = {label.strip() for group in grouped for label in group.split(",")}
    named |= {a or b for a, b in re.findall(r"\$labels\.(\w+)|\{\{(\w+)\}\}", texts)}
    assert named <= of_all


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_goes_by_what_a_controller_serves(
    rule: dict[str, Any], scraped: tuple[str, str]
) -> None:
    texts = " ".join(rule["annotations"].values())

    check(rule["expr"], texts, labels_by_name(scraped[1]))

    assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_page_says_what_to_do_about_each_alert() -> None:
    page = (PACKAGING.parent / "docs" / "metrics.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| (Kronforce\w+) \|", page, re.MULTILINE)

    assert rows == [rule["alert"] for rule in alerts()]


def test_the_dashboard_asks_for_what_a_controller_serves(scraped: tuple[str, str]) -> None:
    known = labels_by_name(scraped[1])
    targets = list(dashboard_targets())

    for _, target in targets:
        check(target["expr"], target["legendFormat"], known)

    shown = {name for _, target in targets for name, _ in SELECTOR.findall(target["expr"])}
    assert {f.name for f in FAMILIES if f.kind != "histogram"} <= shown | {
        "kronforce_executions_pending_limit"
    }


def test_panels_have_places_and_numbers_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells = [
        (p["gridPos"]["x"] + dx, p["gridPos"]["y"] + dy)
        for p in panels
        for dx in range(p["gridPos"]["w"])
        for dy in range(p["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({p["id"] for p in panels}) == len(panels)


def test_the_rules_pass_their_own_tests() -> None:
    tool = promtool()
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(
            [tool, *command],
            cwd=RULES.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
