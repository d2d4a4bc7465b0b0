// Elements without a framework. Text always becomes text nodes, never markup.

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((each) => each !== undefined && each !== null));
  return made;
}

// `code` and **strong** within a line.
export function inline(text) {
  const parts = text.split(/(`[^`]+`|\*\*[^*]+\*\*)/);
  return parts.filter(Boolean).map((part) => {
    if (part.startsWith("`") && part.length > 2) return el("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return el("strong", {}, part.slice(2, -2));
    return part;
  });
}

// Paragraphs and lists, as the contract's comments have them.
export function prose(text) {
  return (text ?? "").split(/\n\n+/).filter(Boolean).map((block) => {
    const lines = block.split("\n");
    if (lines.every((line) => line.startsWith("- "))) {
      return el("ul", {}, lines.map((line) => el("li", {}, inline(line.slice(2)))));
    }
    return el("p", {}, inline(lines.join(" ")));
  });
}

// Details whose content is made when they are first opened.
export function folded(heading, fill, open = false) {
  const box = el("details", { open }, el("summary", {}, heading));
  let filled = false;
  const show = () => {
    if (!box.open || filled) return;
    filled = true;
    box.append(...[fill()].flat(Infinity).filter(Boolean));
  };
  box.addEventListener("toggle", show);
  show();
  return box;
}

export function copied(text) {
  const button = el("button", {
    type: "button", class: "copy", "aria-label": "Copy this call",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "copied";
      } catch {
        button.textContent = "select and copy";
      }
      setTimeout(() => { button.textContent = "copy"; }, 2000);
    },
  }, "copy");
  return el("div", { class: "code" }, el("pre", { tabindex: "0" }, text), button);
}
