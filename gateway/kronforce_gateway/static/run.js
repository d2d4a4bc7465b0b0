// One run, live: where it stands and why, its attempts, and their output as it comes.
import { el, notice, show, title } from "/static/dom.js";
import { call, may } from "/static/api.js";
import { Live } from "/static/live.js";
import { Terminal } from "/static/ansi.js";
import { ago, span } from "/static/times.js";
import { badge, isOpen } from "/static/states.js";
import { fact, jobLink } from "/static/jobs.js";

// Why an open run stands where it stands is asked again after so many seconds.
const EXPLAIN_BEATS = 5;

export async function runView(id) {
  const view = new RunView(await call(`/api/runs/${encodeURIComponent(id)}`));
  await view.explain();
  return view;
}

class RunView {
  constructor(run) {
    this.run = run;
    this.terminals = new Map();
    this.head = el("div", { class: "title" });
    this.why = el("p", { class: "why" });
    this.next = el("p", { class: "soft small" });
    this.facts = el("dl", { class: "facts" });
    this.output = el("div");
    this.quiet = el("p", { class: "empty" });
    show(
      this.head,
      el("section", { class: "card" }, el("div", { class: "body" }, this.why, this.next, this.facts)),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Output")), this.quiet, this.output));
    title(`${run.job_name} ${run.state}`);
    this.paint();
    this.live = new Live(`/api/runs/${encodeURIComponent(run.id)}/watch?include_output=true`, {
      state: (update) => this.changed(update),
      output: (update) => this.wrote(update.output),
      progress: () => {},
      gap: () => {},
    });
    let beats = 0;
    this.timer = setInterval(() => {
      if (!isOpen(this.run.state)) return;
      this.paintFacts();
      beats += 1;
      if (beats % EXPLAIN_BEATS === 0) this.explain().catch(() => {});
    }, 1000);
  }

  close() {
    this.live.close();
    clearInterval(this.timer);
  }

  paint() {
    const run = this.run;
    const actions = el("div", { class: "actions" });
    if (isOpen(run.state) && may("runs.cancel")) {
      actions.append(el("button", { class: "danger", type: "button", onclick: (event) => this.cancel(event.target) }, "Cancel"));
    }
    this.head.replaceChildren(badge(run.state), el("h1", {}, jobLink(run.job_name)), el("code", { class: "soft" }, run.id.slice(-8)), actions);
    title(`${run.job_name} ${run.state}`);
    this.quiet.textContent = isOpen(run.state) ? "Nothing was written yet." : "It wrote nothing.";
    this.quiet.hidden = this.terminals.size > 0;
    this.paintFacts();
  }

  paintFacts() {
    const run = this.run;
    const waited = span(run.created_at, run.started_at ?? run.finished_at);
    const agents = [...new Set((run.executions ?? []).map((each) => each.agent_name).filter(Boolean))].join(", ");
    const code = (run.executions ?? []).at(-1)?.exit_code;
    this.facts.replaceChildren(
      fact("Started by", run.triggered_by || run.trigger), fact("Triggered", ago(run.created_at)),
      fact("Waited", waited), fact("Took", span(run.started_at, run.finished_at)),
      fact("Agent", agents || "–"), fact("Attempts", String((run.executions ?? []).length || "–")),
      fact("Exit code", code === undefined ? "–" : String(code)), fact("Job version", String(run.job_version)));
  }

  async changed(update) {
    const { state } = update;
    if (state.revision < this.run.revision) return;
    if (state.state !== this.run.state) this.why.textContent = "…";
    Object.assign(this.run, { state: state.state, state_reason: state.state_reason, revision: state.revision });
    this.paint();
    await this.reread();
  }

  async reread() {
    try {
      const run = await call(`/api/runs/${encodeURIComponent(this.run.id)}`);
      if (run.revision >= this.run.revision) this.run = run;
      this.paint();
      await this.explain();
    } catch {
      // The stream says when the server is away.
    }
  }

  async explain() {
    const found = await call(`/api/runs/${encodeURIComponent(this.run.id)}/explain`);
    this.why.textContent = found.sentence;
    const steps = isOpen(this.run.state) || this.run.state === "succeeded" ? [] : found.next_steps;
    this.next.replaceChildren(...(steps.length ? ["Next: ", el("code", {}, steps[0])] : []));
    this.next.hidden = steps.length === 0;
  }

  wrote({ execution_id: id, chunk }) {
    const terminal = this.terminals.get(id) ?? this.attempt(id);
    this.quiet.hidden = true;
    if (chunk.gap_bytes) terminal.gap(chunk.stream, chunk.gap_bytes);
    else terminal.write(chunk.stream, chunk.text);
  }

  attempt(id) {
    const element = el("pre", { class: "term", tabindex: "0", role: "log", "aria-label": "Output", "aria-live": "off" });
    const terminal = new Terminal(element);
    const head = el("div", { class: "attempt" }, el("span", { class: "soft small" }, `attempt ${this.terminals.size + 1}`),
      el("a", { class: "spread small", href: `/api/executions/${id}/output?download=1`, download: "" }, "Download"));
    this.terminals.set(id, terminal);
    this.output.append(head, element);
    return terminal;
  }

  async cancel(button) {
    button.disabled = true;
    try {
      await call(`/api/runs/${encodeURIComponent(this.run.id)}/cancel`, { verb: "POST", body: {} });
      await this.reread();
    } catch (error) {
      notice(`not cancelled: ${error.message}`);
      button.disabled = false;
    }
  }
}
