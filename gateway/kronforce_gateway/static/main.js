// Which view an address shows, and what keeps it current.
import { el, notice, show } from "/static/dom.js";
import { onSignedOut, readSession, session, signOut } from "/static/api.js";
import { Live, tell, whenSignedOut } from "/static/live.js";
import { signInView } from "/static/signin.js";
import { homeView } from "/static/home.js";
import { jobView } from "/static/jobs.js";
import { runView } from "/static/run.js";

// Lists are read again this soon after an event, however many come.
const REFRESH_MS = 400;
// And no sooner after the last time: a key has 120 calls a minute, and a view takes two.
const APART_MS = 2000;

let events = null;
let current = null;
let turn = 0;
let pending = 0;
let refreshed = 0;

async function route() {
  const mine = ++turn;
  leave();
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  const [, kind, name] = path.split("/");
  try {
    const made = await view(kind, name && decodeURIComponent(name), new URLSearchParams(query));
    if (mine !== turn) return made.close?.();
    current = made;
  } catch (error) {
    if (mine === turn && error.status !== 401) failed(error);
  }
  document.getElementById("main").focus({ preventScroll: true });
}

function view(kind, name, params) {
  if (kind === "jobs" && name) return jobView(name);
  if (kind === "runs" && name) return runView(name);
  return homeView(params);
}

function failed(error) {
  show(el("section", { class: "card" }, el("div", { class: "body" },
    el("p", { class: "problem" }, error.message), el("p", {}, el("a", { href: "#/" }, "Back to the overview")))));
}

function leave() {
  current?.close?.();
  current = null;
}

function refresh() {
  if (pending || typeof current !== "function") return;
  const wait = Math.max(REFRESH_MS, refreshed + APART_MS - Date.now());
  pending = setTimeout(() => {
    pending = 0;
    refreshed = Date.now();
    if (typeof current === "function") current().catch(() => {});
  }, wait);
}

function signedIn() {
  document.getElementById("top").hidden = false;
  const { name, role } = session.me.key;
  document.getElementById("who").textContent = `${name} (${role})`;
  events = new Live("/api/events/watch", { event: refresh }, refresh);
  tell();
  route();
}

function signedOutNow(why = "") {
  turn += 1;
  leave();
  events?.close();
  events = null;
  session.signed_in = false;
  document.getElementById("top").hidden = true;
  tell();
  readSession().catch(() => {}).finally(() => signInView(signedIn, why));
}

onSignedOut(() => signedOutNow("The session has ended; sign in again."));
whenSignedOut(() => signedOutNow("The session has ended (a restart of the server ends it too); sign in again."));
document.getElementById("sign-out").addEventListener("click", async () => {
  await signOut().catch((error) => notice(error.message));
  signedOutNow();
});
addEventListener("hashchange", () => session.signed_in && route());
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  const search = document.querySelector('input[type="search"]');
  if (search) {
    event.preventDefault();
    search.focus();
  }
});

try {
  if (await readSession()) signedIn();
  else signInView(signedIn);
} catch (error) {
  failed(error);
}
