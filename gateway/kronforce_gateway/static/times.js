// Instants as how long ago, with the whole of it at hand, and durations.
import { el } from "/static/dom.js";

export function ago(instant) {
  if (!instant) return el("span", { class: "soft" }, "–");
  const at = new Date(instant);
  return el("time", { datetime: instant, title: at.toLocaleString() }, words(at));
}

export function span(from, to) {
  if (!from) return "–";
  const ms = (to ? Date.parse(to) : Date.now()) - Date.parse(from);
  return length(Math.max(0, ms));
}

export function length(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const secs = ms / 1000;
  if (secs < 60) return `${secs.toFixed(secs < 10 && !Number.isInteger(secs) ? 1 : 0)} s`;
  const whole = Math.floor(secs);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return hours ? `${hours} h ${minutes} m` : `${minutes} m ${whole % 60} s`;
}

function words(at) {
  const ms = Date.now() - at.getTime();
  const size = length(Math.floor(Math.abs(ms) / 1000) * 1000);
  if (Math.abs(ms) < 1000) return "now";
  return ms < 0 ? `in ${size}` : `${size} ago`;
}

setInterval(() => {
  for (const each of document.querySelectorAll("time")) {
    const text = words(new Date(each.dateTime));
    if (each.textContent !== text) each.textContent = text;
  }
}, 1000);
