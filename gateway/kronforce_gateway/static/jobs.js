// What jobs say of themselves, and how one is started.
import { el, notice, show, title } from "/static/dom.js";
import { call, may } from "/static/api.js";
import { ago, length } from "/static/times.js";
import { badge } from "/static/states.js";
import { runsTable } from "/static/runs.js";

export const jobLink = (name) => el("a", { href: `#/jobs/${encodeURIComponent(name)}` }, name);

export function schedule(job) {
  const kind = job.schedule ?? { type: "on_demand" };
  if (kind.type === "cron") return el("code", {}, kind.value);
  if (kind.type === "one_shot") return ago(kind.value);
  if (kind.type === "interval") return `every ${length((kind.value?.interval_secs ?? 0) * 1000)}`;
  return el("span", { class: "soft" }, kind.type.replaceAll("_", " "));
}

export function jobRow(job) {
  const last = job.last_run;
  return el("tr", {},
    el("td", { class: "name" }, jobLink(job.name)),
    el("td", {}, last ? el("a", { href: `#/runs/${last.run_id}` }, badge(last.state)) : el("span", { class: "soft" }, "never ran")),
    el("td", { class: "wide" }, last ? ago(last.created_at) : ""),
    el("td", { class: "wide" }, schedule(job)),
    el("td", { class: "wide" }, job.status === "paused" ? badge("paused") : job.next_fire_at ? ago(job.next_fire_at) : el("span", { class: "soft" }, "–")),
    el("td", { class: "number" }, may("runs.trigger") ? runButton(job) : ""));
}

function runButton(job) {
  const asks = job.parameters.some((each) => each.required && each.default === undefined);
  const press = (event) => {
    if (asks) location.hash = `#/jobs/${encodeURIComponent(job.name)}`;
    else trigger(job, {}, event.target);
  };
  return el("button", { class: "quiet slim", type: "button", "aria-label": `Run ${job.name}`, onclick: press }, "Run");
}

export async function trigger(job, params, button) {
  button.disabled = true;
  try {
    const made = await call(`/api/jobs/${encodeURIComponent(job.id)}/trigger`, { verb: "POST", body: { params, request_id: crypto.randomUUID?.() ?? String(Math.random()) } });
    location.hash = `#/runs/${made.run.id}`;
  } catch (error) {
    notice(`${job.name} was not started: ${error.message}`);
    throw error;
  } finally {
    button.disabled = false;
  }
}

// One job: what it is, its runs, and a form for what it asks for.
export async function jobView(name) {
  const job = await call(`/api/jobs/${encodeURIComponent(name)}`);
  title(job.name);
  const runs = runsTable(false);
  const refresh = async () => runs.set((await call(`/api/jobs/${encodeURIComponent(job.id)}/runs?page_size=50`)).data);
  const facts = el("dl", { class: "facts" },
    fact("Status", badge(job.status)), fact("Schedule", schedule(job)), fact("Next", ago(job.next_fire_at)),
    fact("Time zone", job.timezone || "UTC"), fact("Group", job.group), fact("Task", job.task?.type ?? "–"), fact("Version", String(job.version)));
  show(
    el("div", { class: "title" }, el("h1", {}, job.name)),
    el("section", { class: "card" }, el("div", { class: "body" }, job.description ? el("p", {}, job.description) : null, facts)),
    may("runs.trigger") ? runForm(job) : "",
    el("section", { class: "card" }, el("header", {}, el("h2", {}, "Runs")), runs.element));
  await refresh();
  return refresh;
}

export const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

function runForm(job) {
  const problem = el("p", { class: "problem", role: "alert" });
  const fields = job.parameters.map((each) => [each, input(each)]);
  const button = el("button", { type: "submit" }, `Run ${job.name}`);
  const submit = async (event) => {
    event.preventDefault();
    problem.textContent = "";
    try {
      await trigger(job, values(fields), button);
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const labels = fields.map(([each, field]) =>
    el("label", {}, each.required ? `${each.name} *` : each.name, field, each.description ? el("span", { class: "hint" }, each.description) : null));
  return el("section", { class: "card" }, el("header", {}, el("h2", {}, "Run it now")),
    el("div", { class: "body" }, el("form", { class: "params", onsubmit: submit }, labels, problem, el("div", {}, button))));
}

function input(parameter) {
  const start = parameter.default;
  if (parameter.param_type === "boolean") return el("input", { type: "checkbox", checked: start === true });
  if (parameter.param_type === "select") {
    const options = parameter.options.map((each) => (typeof each === "object" ? each : { value: each, label: each }));
    return el("select", {}, parameter.required ? null : el("option", { value: "" }, "–"),
      options.map((each) => el("option", { value: each.value, selected: each.value === start }, String(each.label ?? each.value))));
  }
  const type = parameter.param_type === "number" ? "number" : "text";
  return el("input", { type, value: start ?? "", step: "any", required: parameter.required });
}

function values(fields) {
  const params = {};
  for (const [parameter, field] of fields) {
    if (parameter.param_type === "boolean") params[parameter.name] = field.checked;
    else if (field.value !== "") params[parameter.name] = parameter.param_type === "number" ? Number(field.value) : field.value;
  }
  return params;
}
