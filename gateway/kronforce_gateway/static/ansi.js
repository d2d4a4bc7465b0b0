// Output as lines of text nodes. Of the terminal's language colours and weights are taken, from a
// fixed list; everything else that it can say is dropped. Nothing is ever read as markup.

// Lines that are kept in the page; the rest is a download away.
export const MAX_LINES = 5000;
// A sequence that is not whole by then is none.
const MAX_SEQUENCE = 64;
const ESCAPE = "\u001b";
const SEQUENCE = /\u001b(?:\[([0-9;:?<=>!]*)([ -/]*[@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\^_`-~])/g;
const WEIGHTS = { 1: "bold", 2: "dim", 3: "italic", 4: "under" };

export class Terminal {
  constructor(element) {
    this.element = element;
    this.dropped = 0;
    this.streams = new Map();
    this.last = null;
  }

  write(stream, text) {
    let state = this.streams.get(stream);
    if (!state) this.streams.set(stream, (state = { carry: "", style: {}, line: null }));
    if (this.last !== stream && this.last !== null) state.line = this.streams.get(this.last).line = null;
    this.last = stream;
    const atEnd = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 30;
    text = state.carry + text;
    state.carry = "";
    const open = text.lastIndexOf(ESCAPE);
    if (open >= 0 && text.length - open < MAX_SEQUENCE && !text.slice(open).match(SEQUENCE)) {
      state.carry = text.slice(open);
      text = text.slice(0, open);
    }
    let from = 0;
    for (const found of text.matchAll(SEQUENCE)) {
      this.plain(stream, state, text.slice(from, found.index));
      if (found[2] === "m") restyle(state.style, found[1]);
      from = found.index + found[0].length;
    }
    this.plain(stream, state, text.slice(from));
    this.trim();
    if (atEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  gap(stream, bytes) {
    const state = this.streams.get(stream);
    if (state) state.line = null;
    const line = this.line(stream);
    line.classList.add("gap");
    line.append(`[${bytes.toLocaleString()} bytes are not kept]`);
  }

  line(stream) {
    const made = document.createElement("div");
    made.className = stream === "stderr" ? "line err" : "line";
    this.element.append(made);
    return made;
  }

  plain(stream, state, text) {
    const parts = text.replaceAll("\r\n", "\n").split("\n");
    parts.forEach((part, index) => {
      if (index) {
        if (!state.line) this.line(stream);
        state.line = null;
      }
      // A lone return begins the line anew, as progress bars want it.
      const shown = part.slice(part.lastIndexOf("\r") + 1).replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");
      if (part.includes("\r") && state.line && shown) state.line.replaceChildren();
      if (!shown) return;
      state.line ??= this.line(stream);
      const names = classes(state.style);
      if (!names) return state.line.append(shown);
      const span = document.createElement("span");
      span.className = names;
      span.append(shown);
      state.line.append(span);
    });
  }

  trim() {
    while (this.element.childElementCount > MAX_LINES) {
      this.element.firstElementChild.remove();
      this.dropped += 1;
    }
  }
}

function restyle(style, text) {
  const codes = text === "" ? [0] : text.split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) for (const key of Object.keys(style)) delete style[key];
    else if (WEIGHTS[code]) style[WEIGHTS[code]] = true;
    else if (code === 22) delete style.bold, delete style.dim;
    else if (code === 23) delete style.italic;
    else if (code === 24) delete style.under;
    else if (code >= 30 && code <= 37) style.f = code - 30;
    else if (code >= 90 && code <= 97) style.f = code - 82;
    else if (code >= 40 && code <= 47) style.b = code - 40;
    else if (code >= 100 && code <= 107) style.b = code - 92;
    else if (code === 39) delete style.f;
    else if (code === 49) delete style.b;
    else if (code === 38 || code === 48) {
      // 256 colours: the first sixteen are ours; true colour is skipped.
      if (codes[at + 1] === 5 && codes[at + 2] < 16) style[code === 38 ? "f" : "b"] = codes[at + 2];
      at += codes[at + 1] === 5 ? 2 : codes[at + 1] === 2 ? 4 : 0;
    }
  }
}

function classes(style) {
  const names = Object.values(WEIGHTS).filter((name) => style[name]);
  if (style.f !== undefined) names.push(`f${style.f}`);
  if (style.b !== undefined) names.push(`b${style.b}`);
  return names.join(" ");
}
