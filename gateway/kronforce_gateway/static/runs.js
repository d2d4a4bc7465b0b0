// Runs in a table.
import { el, Rows } from "/static/dom.js";
import { ago, span } from "/static/times.js";
import { badge } from "/static/states.js";

export function runsTable(withJob = true) {
  const body = el("tbody");
  const empty = el("p", { class: "empty" }, "No runs yet.");
  const rows = new Rows(body, (run) => runRow(run, withJob));
  const head = ["State", withJob ? "Job" : null, "Started by", "When", "Took", "Run"].filter(Boolean);
  const table = el("table", {}, el("thead", {}, el("tr", {}, head.map((name) =>
    el("th", { scope: "col", class: { Took: "number", Run: "number wide", "Started by": "wide" }[name] }, name)))), body);
  const scroll = el("div", { class: "scroll" }, table);
  return {
    element: el("div", {}, scroll, empty),
    set(runs) {
      rows.set(runs);
      empty.hidden = runs.length > 0;
      scroll.hidden = runs.length === 0;
    },
  };
}

function runRow(run, withJob) {
  const link = `#/runs/${run.id}`;
  const why = run.state_reason && run.state_reason !== run.state ? el("span", { class: "soft small" }, ` ${run.state_reason.replaceAll("_", " ")}`) : null;
  return el("tr", {},
    el("td", {}, el("a", { href: link }, badge(run.state)), why),
    withJob ? el("td", { class: "name" }, el("a", { href: `#/jobs/${encodeURIComponent(run.job_name)}` }, run.job_name)) : null,
    el("td", { class: "wide soft" }, run.triggered_by || run.trigger),
    el("td", {}, ago(run.created_at)),
    el("td", { class: "number" }, span(run.started_at, run.finished_at)),
    el("td", { class: "number wide" }, el("a", { href: link }, el("code", {}, run.id.slice(-6)))));
}
