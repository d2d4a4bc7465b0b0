// Elements without markup: what comes from the API is only ever a text node or an attribute.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
}

export function show(...children) {
  document.getElementById("main").replaceChildren(...children);
}

let timer = 0;
export function notice(text) {
  document.getElementById("notice").textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => notice(""), 8000);
}

export function title(text) {
  document.title = text ? `${text} · Kronforce` : "Kronforce";
}

// Rows that keep their place: one whose key is known is replaced where it stands. While the pointer
// or the keyboard is among them nothing moves; what is new waits until it has left.
export class Rows {
  constructor(body, make) {
    this.body = body;
    this.make = make;
    this.rows = new Map();
    this.waiting = null;
    const leave = () => {
      if (this.waiting && !this.busy()) this.set(this.waiting);
    };
    body.addEventListener("pointerleave", leave);
    body.addEventListener("focusout", () => setTimeout(leave));
  }

  busy() {
    return this.body.matches(":hover") || this.body.contains(document.activeElement);
  }

  set(items) {
    const order = items.map((item) => item.id).join();
    const moves = order !== [...this.rows.keys()].join();
    if (moves && this.rows.size && this.busy()) {
      this.waiting = items;
      for (const item of items) if (this.rows.has(item.id)) this.renew(item);
      return;
    }
    this.waiting = null;
    if (!moves) {
      items.forEach((item) => this.renew(item));
      return;
    }
    this.rows = new Map(items.map((item) => [item.id, { data: JSON.stringify(item), row: this.make(item) }]));
    this.body.replaceChildren(...[...this.rows.values()].map((each) => each.row));
  }

  renew(item) {
    const data = JSON.stringify(item);
    const known = this.rows.get(item.id);
    if (known.data === data) return;
    const row = this.make(item);
    const focused = [...known.row.querySelectorAll("a, button")].indexOf(document.activeElement);
    known.row.replaceWith(row);
    if (focused >= 0) row.querySelectorAll("a, button")[focused]?.focus();
    this.rows.set(item.id, { data, row });
  }
}
