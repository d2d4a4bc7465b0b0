// A stream that heals: the browser connects again by itself and goes on after its last event; where
// it gives up (the server refused it) we look why, and open it anew.
import { readSession, session } from "/static/api.js";

const MAX_WAIT_MS = 15000;

const lost = new Set();
let onSignedOut = () => {};

export function whenSignedOut(callback) {
  onSignedOut = callback;
}

function tell() {
  const shown = document.getElementById("connection");
  const text = lost.size ? "◌ connection lost, trying again" : session.signed_in ? "● live" : "";
  if (shown.textContent !== text) shown.textContent = text;
  shown.classList.toggle("lost", lost.size > 0);
}

export class Live {
  // `handlers` by event name; `again` is called when the stream is back after a cut.
  constructor(path, handlers, again = () => {}) {
    this.path = path;
    this.handlers = handlers;
    this.again = again;
    this.lastId = "";
    this.wait = 1000;
    this.closed = false;
    this.open();
  }

  open() {
    const mark = this.lastId ? `${this.path.includes("?") ? "&" : "?"}last_event_id=${encodeURIComponent(this.lastId)}` : "";
    this.source = new EventSource(this.path + mark);
    this.source.onopen = () => {
      this.wait = 1000;
      if (lost.delete(this)) this.again();
      tell();
    };
    this.source.onerror = () => this.failed();
    for (const [name, handle] of Object.entries(this.handlers)) {
      this.source.addEventListener(name, (event) => {
        this.lastId = event.lastEventId || this.lastId;
        handle(JSON.parse(event.data));
      });
    }
    this.source.addEventListener("end", () => this.close());
    this.source.addEventListener("failed", () => {
      this.source.close();
      this.retry();
    });
  }

  failed() {
    if (this.closed) return;
    lost.add(this);
    tell();
    if (this.source.readyState === EventSource.CLOSED) this.retry();
  }

  async retry() {
    lost.add(this);
    tell();
    try {
      if (!(await readSession())) return onSignedOut();
    } catch {
      // Not there yet.
    }
    setTimeout(() => this.closed || this.open(), this.wait * (0.7 + 0.6 * Math.random()));
    this.wait = Math.min(MAX_WAIT_MS, this.wait * 2);
  }

  close() {
    this.closed = true;
    this.source.close();
    lost.delete(this);
    tell();
  }
}

export { tell };
