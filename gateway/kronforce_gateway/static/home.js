// Jobs and the last runs.
import { el, show, title, Rows } from "/static/dom.js";
import { call } from "/static/api.js";
import { jobRow } from "/static/jobs.js";
import { runsTable } from "/static/runs.js";

const JOBS = 100;
const RUNS = 25;

export async function homeView(params) {
  title("");
  const body = el("tbody");
  const jobs = new Rows(body, jobRow);
  const runs = runsTable();
  const search = el("input", { type: "search", placeholder: "Find a job  ( / )", "aria-label": "Find a job", value: params.get("search") ?? "" });
  const count = el("span", { class: "soft small" });
  const empty = el("p", { class: "empty" });
  const table = el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Job", "Last run", "When", "Schedule", "Next", ""].map((name) =>
      el("th", { scope: "col", class: name === "When" || name === "Schedule" || name === "Next" ? "wide" : "" }, name)))), body));
  const refresh = async () => {
    const wanted = search.value.trim();
    const query = wanted ? `&search=${encodeURIComponent(wanted)}` : "";
    const [found, last] = await Promise.all([call(`/api/jobs?page_size=${JOBS}${query}`), call(`/api/runs?page_size=${RUNS}`)]);
    if (search.value.trim() !== wanted) return;
    jobs.set(found.data);
    runs.set(last.data);
    count.textContent = found.total > found.data.length ? `${found.data.length} of ${found.total.toLocaleString()}` : String(found.total ?? "");
    empty.textContent = wanted ? `No job is called like “${wanted}”.` : "No jobs yet: kronforce job init writes one to start from.";
    empty.hidden = found.data.length > 0;
    table.hidden = found.data.length === 0;
  };
  search.addEventListener("input", () => {
    const mark = search.value.trim() ? `#/?search=${encodeURIComponent(search.value.trim())}` : "#/";
    history.replaceState(null, "", mark);
    refresh().catch(() => {});
  });
  show(
    el("section", { class: "card" }, el("header", {}, el("h2", {}, "Jobs"), count, el("div", { class: "spread" }, search)), table, empty),
    el("section", { class: "card" }, el("header", {}, el("h2", {}, "Last runs")), runs.element));
  await refresh();
  return refresh;
}
