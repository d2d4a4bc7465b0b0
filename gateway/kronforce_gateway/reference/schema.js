// Schemas as people read them: what a value is in a word, its fields as a tree, and a sample.

import { el, folded, inline, prose } from "./dom.js";

const DEEPEST = 12;
const COMES_BACK_ONLY = /\bOutput only\b/;

export class Schemas {
  constructor(api) {
    this.all = api.components.schemas;
  }

  named(schema) {
    const place = schema?.$ref ?? schema?.oneOf?.find((each) => each.$ref && notNull(schema))?.$ref;
    return place?.split("/").pop();
  }

  // What stands behind references, and beside a null that only means "not set".
  resolved(schema) {
    const name = this.named(schema);
    return name ? this.all[name] ?? {} : schema ?? {};
  }

  kind(schema) {
    if (!schema) return "";
    const name = this.named(schema);
    if (name) return name;
    if (schema.enum) return "one of";
    const kinds = [schema.type ?? "any"].flat().filter((each) => each !== "null");
    if (kinds.includes("array")) return `list of ${this.kind(schema.items)}`;
    if (schema.format === "date-time") return "instant";
    if (schema.contentEncoding) return schema.contentEncoding;
    if (kinds.includes("object") && typeof schema.additionalProperties === "object") {
      return `map of ${this.kind(schema.additionalProperties)}`;
    }
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    return kinds[0] ?? "any";
  }

  // Limits, choices and default, as few words.
  limits(schema) {
    const said = [];
    const words = schema.enum?.filter((each) => each !== null && each !== "unspecified");
    // Where each word is explained, it need not stand there twice.
    if (words && !schema.description?.includes(`- \`${words[0]}\``)) said.push(words.join(" · "));
    if (ranged(schema)) said.push(`${number(schema.minimum)} … ${number(schema.maximum)}`);
    if (schema.maxLength !== undefined) said.push(`at most ${number(schema.maxLength)} characters`);
    if (schema.maxItems !== undefined) said.push(`at most ${number(schema.maxItems)}`);
    if (schema.default !== undefined) said.push(`default ${schema.default}`);
    return said;
  }

  // The fields of an object; of a choice, each of what it may be. `given`: what the API gives, where
  // most is always there; otherwise what it takes.
  tree(schema, given, depth = 0) {
    const shown = this.resolved(schema);
    if (depth > DEEPEST) return el("p", { class: "quiet" }, "…");
    if (shown.type === "array" || shown.items) return this.tree(shown.items, given, depth + 1);
    if (shown.discriminator) return this.choices(shown, given, depth);
    if (shown.oneOf) return this.alternatives(shown, given, depth);
    const all = Object.entries(shown.properties ?? {});
    const fields = all.filter(([, each]) => given || !COMES_BACK_ONLY.test(each.description));
    const ignored = all.filter((each) => !fields.includes(each)).map(([name]) => name);
    if (!fields.length) return el("p", { class: "quiet" }, shown.type === "object" ? "No fields." : this.kind(shown));
    const required = new Set(shown.required ?? []);
    return [
      el("dl", { class: "fields" }, fields.map(([name, each]) => this.field(name, each, mark(given, required.has(name)), given, depth))),
      ignored.length ? el("p", { class: "quiet ignored" }, `Only come back, and are ignored here: ${ignored.join(", ")}.`) : undefined,
    ];
  }

  field(name, schema, marked, given, depth) {
    const inside = this.inside(schema);
    const about = [...prose(schema.description ?? "")];
    if (inside) about.push(folded(this.kind(schema), () => this.tree(inside, given, depth + 1)));
    return [
      el("dt", {}, el("code", { class: "name" }, name), " ",
        el("span", { class: "kind" }, this.kind(schema)),
        marked ? el("span", { class: marked }, marked) : undefined,
        this.limits(schema).map((each) => el("span", { class: "limit" }, each))),
      el("dd", {}, about),
    ];
  }

  // What a field holds that has fields itself.
  inside(schema) {
    const at = schema.items ?? (typeof schema.additionalProperties === "object" ? schema.additionalProperties : schema);
    const shown = this.resolved(at);
    return shown.properties || shown.oneOf ? at : undefined;
  }

  choices(schema, given, depth) {
    const tag = schema.discriminator.propertyName;
    return el("div", { class: "choices" }, Object.entries(schema.discriminator.mapping).map(([name, place]) =>
      folded([el("code", {}, `${tag}: ${name}`), " ", el("span", { class: "quiet" }, inline(first(this.all[place.split("/").pop()]?.properties?.[tag]?.description)))],
        () => this.tree({ $ref: place }, given, depth + 1))));
  }

  alternatives(schema, given, depth) {
    const some = schema.oneOf.filter((each) => each.type !== "null" && each.title);
    if (!some.length) return this.tree(schema.oneOf[0], given, depth + 1);
    return el("div", { class: "choices" }, some.map((each) => folded(el("code", {}, each.title), () => this.tree(each, given, depth + 1))));
  }

  // The smallest thing that could be sent.
  sample(schema, depth = 0) {
    const shown = this.resolved(schema);
    if (shown.example !== undefined) return shown.example;
    if (shown.default !== undefined) return shown.default;
    if (shown.const !== undefined) return shown.const;
    if (shown.enum) return shown.enum[0];
    if (shown.oneOf) return this.sample(shown.oneOf[0], depth + 1);
    const kind = [shown.type ?? "object"].flat()[0];
    if (kind === "array") return depth > 3 ? [] : [this.sample(shown.items, depth + 1)];
    if (kind === "object") {
      return Object.fromEntries((shown.required ?? []).map((name) => [name, this.sample(shown.properties[name], depth + 1)]));
    }
    return { string: "…", integer: shown.minimum ?? 0, number: 0, boolean: true }[kind] ?? null;
  }
}

function mark(given, required) {
  if (given) return required ? undefined : "optional";
  return required ? "required" : undefined;
}

function notNull(schema) {
  return schema.oneOf.length === 2 && schema.oneOf.some((each) => each.type === "null");
}

// Bounds of the number's type say nothing to people.
function ranged(schema) {
  return schema.maximum !== undefined && Math.abs(schema.maximum) < 2 ** 31 - 1;
}

function number(value) {
  return typeof value === "number" ? value.toLocaleString("en") : String(value);
}

function first(text) {
  return (text ?? "").split(/(?<=\.)\s/)[0];
}
