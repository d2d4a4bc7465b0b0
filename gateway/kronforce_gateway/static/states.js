// A state is an icon, a word and a colour, in this order of weight.
import { el } from "/static/dom.js";

const PATHS = {
  check: "M3 8.5 6.5 12 13 4.5",
  cross: "M4 4l8 8M12 4l-8 8",
  play: "M5 3.5v9l7-4.5z",
  clock: "M8 4.5V8l2.5 1.5M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  slash: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM4 12l8-8",
  skip: "M3 4l5 4-5 4zM9 4l5 4-5 4z",
  ask: "M6 6a2 2 0 1 1 3 1.8c-.7.4-1 .8-1 1.7M8 12v.5",
  hand: "M8 2v7M8 12v1.5",
};
const LOOKS = {
  succeeded: ["check", "good"], failed: ["cross", "bad"], timed_out: ["clock", "bad"],
  lost: ["ask", "bad"], rejected: ["slash", "bad"], cancelled: ["slash", "warn"],
  expired: ["clock", "warn"], skipped: ["skip", "idle"], running: ["play", "busy"],
  pending: ["clock", "idle"], pending_approval: ["hand", "warn"],
  scheduled: ["clock", "busy"], paused: ["hand", "warn"], unscheduled: ["slash", "idle"],
};
const OPEN = new Set(["pending", "pending_approval", "running"]);

export const isOpen = (state) => OPEN.has(state);

export function badge(state) {
  const [path, tone] = LOOKS[state] ?? ["ask", "idle"];
  return el("span", { class: `state ${tone}` }, icon(path), state.replaceAll("_", " "));
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  const filled = name === "play" || name === "skip";
  for (const [key, value] of Object.entries({
    d: PATHS[name], fill: filled ? "currentColor" : "none", stroke: filled ? "none" : "currentColor",
    "stroke-width": "2", "stroke-linecap": "round", "stroke-linejoin": "round",
  })) path.setAttribute(key, value);
  svg.append(path);
  return svg;
}
