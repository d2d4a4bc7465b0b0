// The page: reads openapi.json from beside it, lists the calls, and finds them by word. The address
// names the call that is looked at, and what is searched for.

import { el, prose } from "./dom.js";
import { Operation } from "./operation.js";
import { Schemas } from "./schema.js";

const nav = document.getElementById("nav");
const main = document.getElementById("content");
const search = document.getElementById("search");

async function start() {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
  const api = await answer.json();
  const schemas = new Schemas(api);
  const all = Object.entries(api.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, said]) => new Operation(api, schemas, verb, path, said)));
  const groups = api.tags.map((tag) => ({ ...tag, calls: all.filter((each) => each.tag === tag.name) }))
    .filter((tag) => tag.calls.length);
  document.getElementById("version").textContent = api.info.version;
  show(api, groups);
  search.value = new URLSearchParams(location.search).get("q") ?? "";
  listen(all);
  filter(all);
  follow();
}

function show(api, groups) {
  nav.replaceChildren(...groups.map((tag) => el("section", {},
    el("h2", {}, tag.name),
    el("ul", {}, tag.calls.map((each) => el("li", {}, each.link()))))),
    el("p", { class: "none", hidden: true }, "Nothing is called like that."));
  main.replaceChildren(
    el("section", { class: "intro" }, el("h1", {}, `${api.info.title} over HTTP`), prose(api.info.description)),
    ...groups.map((tag) => el("section", { class: "group", "aria-labelledby": `tag-${tag.name}` },
      el("h2", { id: `tag-${tag.name}` }, tag.name),
      prose(tag.description),
      tag.calls.map((each) => each.article()))));
  const wanted = location.hash.slice(1);
  if (wanted) document.getElementById(wanted)?.scrollIntoView();
}

function listen(all) {
  search.addEventListener("input", () => filter(all));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { search.value = ""; filter(all); search.blur(); }
    if (event.key === "Enter") { visible()[0]?.click(); main.focus({ preventScroll: true }); }
    if (event.key === "ArrowDown") { event.preventDefault(); visible()[0]?.focus(); }
  });
  nav.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const links = visible();
    const next = links.indexOf(document.activeElement) + step;
    (next < 0 ? search : links[Math.min(next, links.length - 1)])?.focus();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea") || event.ctrlKey || event.metaKey || event.altKey;
    if (typing) return;
    if (event.key === "/") { event.preventDefault(); search.focus(); search.select(); }
    if (event.key === "j" || event.key === "k") beside(event.key === "j" ? 1 : -1);
  });
}

function visible() {
  return [...nav.querySelectorAll("a")].filter((each) => !each.closest("[hidden]"));
}

// The next call, or the one before.
function beside(step) {
  const links = visible();
  const at = links.findIndex((each) => each.getAttribute("aria-current"));
  links[Math.max(0, Math.min(at + step, links.length - 1))]?.click();
}

function filter(all) {
  const query = search.value ? `?q=${encodeURIComponent(search.value)}` : location.pathname;
  if (location.search !== query && search.value + location.search) {
    history.replaceState(null, "", query + location.hash);
  }
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = new Set(all.filter((each) => each.matches(wanted)).map((each) => each.id));
  for (const link of nav.querySelectorAll("a")) link.parentElement.hidden = !found.has(link.dataset.id);
  for (const call of main.querySelectorAll("article")) call.hidden = !found.has(call.id);
  for (const each of [...nav.querySelectorAll("section"), ...main.querySelectorAll(".group")]) {
    each.hidden = !each.querySelector("li:not([hidden]), article:not([hidden])");
  }
  main.querySelector(".intro").hidden = wanted.length > 0;
  nav.querySelector(".none").hidden = found.size > 0;
}

// Marks in the list what is being read.
function follow() {
  const seen = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const each of entries) (each.isIntersecting ? seen.add(each.target) : seen.delete(each.target));
    const [top] = [...seen].sort((one, other) => one.offsetTop - other.offsetTop);
    for (const link of nav.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
    const link = top && nav.querySelector(`[data-id="${CSS.escape(top.id)}"]`);
    link?.setAttribute("aria-current", "true");
    if (link && !nav.matches(":hover, :focus-within")) link.scrollIntoView({ block: "nearest" });
  }, { rootMargin: "-64px 0px -60% 0px" });
  for (const call of main.querySelectorAll("article")) watcher.observe(call);
}

start().catch((error) => {
  document.getElementById("state")?.replaceChildren(`Cannot show the reference: ${error.message}`);
});

