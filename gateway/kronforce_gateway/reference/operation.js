// One call: what it is for, what it takes, what it answers, and how to make it with curl.

import { copied, el, folded, inline, prose } from "./dom.js";

// Longer bodies stand on several lines.
const WIDE = 72;

export function badge(verb) {
  return el("span", { class: `verb ${verb}` }, verb.toUpperCase());
}

export class Operation {
  constructor(api, schemas, verb, path, said) {
    Object.assign(this, { api, schemas, verb, path, said });
    this.id = said.operationId;
    this.tag = said.tags[0];
    this.notYet = said["x-not-yet"] === true;
    this.words = [verb, path, this.id, said.summary, this.tag, said["x-permission"], said.description].join(" ").toLowerCase();
  }

  matches(wanted) {
    return wanted.every((word) => this.words.includes(word));
  }

  link() {
    return el("a", { href: `#${this.id}`, "data-id": this.id, title: this.said.summary, class: this.notYet ? "not-yet" : undefined },
      badge(this.verb), el("span", { class: "path" }, breakable(this.path)));
  }

  article() {
    const { said } = this;
    return el("article", { id: this.id, class: this.notYet ? "call not-yet" : "call" },
      el("h3", {}, el("a", { href: `#${this.id}`, class: "heading" }, badge(this.verb), el("code", {}, breakable(this.path)))),
      el("p", { class: "summary" }, inline(said.summary), this.notYet ? el("span", { class: "flag" }, "not built yet") : undefined),
      el("div", { class: "about" }, prose(rest(said))),
      this.facts(),
      this.parameters(),
      this.body(),
      this.notYet ? undefined : copied(this.curl()),
      this.responses());
  }

  facts() {
    const method = this.said["x-grpc-method"];
    return method ? el("p", { class: "facts" }, "gRPC ", el("code", {}, method)) : undefined;
  }

  parameters() {
    const all = this.said.parameters ?? [];
    if (!all.length) return undefined;
    return el("section", {}, el("h4", {}, "Parameters"), el("dl", { class: "fields" }, all.map((each) => [
      el("dt", {}, el("code", { class: "name" }, each.name), " ",
        el("span", { class: "kind" }, `${each.in} · ${this.schemas.kind(each.schema)}`),
        each.required ? el("span", { class: "required" }, "required") : undefined,
        this.schemas.limits(each.schema).map((limit) => el("span", { class: "limit" }, limit))),
      el("dd", {}, prose(each.description)),
    ])));
  }

  body() {
    const content = this.json();
    if (!content) return undefined;
    return el("section", {}, el("h4", {}, "Body"),
      folded(this.schemas.kind(content.schema), () => this.schemas.tree(content.schema, false)));
  }

  json() {
    return this.said.requestBody?.content["application/json"];
  }

  responses() {
    const all = Object.entries(this.said.responses);
    const [good, bad] = [all.filter(([status]) => status < "400"), all.filter(([status]) => status >= "400")];
    const list = (some) => el("dl", { class: "answers" }, some.map(([status, each]) => this.response(status, this.found(each))));
    const codes = bad.map(([status]) => status).join("  ");
    return el("section", {}, el("h4", {}, "Answers"),
      good.length ? list(good) : undefined,
      bad.length ? folded(codes, () => [list(bad), this.reasons()].filter(Boolean), !good.length) : undefined);
  }

  reasons() {
    const said = this.said["x-reasons"];
    if (!said) return undefined;
    return el("p", { class: "facts" }, "Reasons that are its own: ", said.flatMap((each) => [el("code", {}, each), " "]));
  }

  found(response) {
    const name = response.$ref?.split("/").pop();
    return name ? this.api.components.responses[name] : response;
  }

  response(status, said) {
    const good = status < "300";
    const about = [el("span", {}, inline(said.description))];
    if (good) about.push(...Object.entries(said.content ?? {}).map(([kind, content]) => this.content(kind, content)));
    return [el("dt", { class: good ? "good" : "bad" }, status), el("dd", {}, about)];
  }

  content(kind, content) {
    const data = content.schema.properties?.data?.contentSchema?.anyOf[0];
    const schema = data ?? content.schema;
    const heading = kind === "application/json" ? this.schemas.kind(schema) : `${kind}${data ? ` of ${this.schemas.kind(data)}` : ""}`;
    if (!this.schemas.inside(schema)) return el("span", { class: "kind" }, heading);
    return folded(heading, () => this.schemas.tree(schema, true));
  }

  curl() {
    const lines = [`curl ${this.verb === "get" ? "" : `-X ${this.verb.toUpperCase()} `}${quoted(location.origin + this.address())}`];
    if (this.said.security?.length !== 0) lines.push('-H "Authorization: Bearer $KEY"');
    const content = this.json();
    if (content) {
      const sent = content.example ?? this.schemas.sample(content.schema);
      const text = JSON.stringify(sent);
      lines.push("-H 'Content-Type: application/json'",
        `-d ${quoted(text.length > WIDE ? JSON.stringify(sent, null, 2) : text)}`);
    }
    return lines.join(" \\\n  ");
  }

  address() {
    const examples = Object.fromEntries((this.said.parameters ?? []).filter((each) => each.in === "path").map((each) => [each.name, each.example ?? each.name.toUpperCase()]));
    return this.path.replace(/\{([^}]+)\}/g, (_, name) => encodeURIComponent(examples[name] ?? name));
  }
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

// The summary is the description's first sentence: it need not stand there twice.
function rest(said) {
  const text = said.description ?? "";
  if (!text.startsWith(said.summary)) return text;
  const left = text.slice(said.summary.length).replace(/^[.;:]\s*/, "");
  return left.slice(0, 1).toUpperCase() + left.slice(1);
}

function breakable(path) {
  return path.split(/(?=\/)/).flatMap((part) => [part, el("wbr")]);
}
