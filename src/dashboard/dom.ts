// Making elements. Text is always inserted as text: no answer of the server becomes HTML.

type Child = Node | string;

/** An element with attributes and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | boolean>> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** An element of the page itself. */
export function byId<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Sets a text if it differs, so that a screen reader does not read it twice. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A table; the first cell of a row is its name. */
export function table(
  label: string,
  head: readonly string[],
  rows: readonly (readonly Child[])[],
): HTMLElement {
  const body = rows.map(([name = "", ...cells]) =>
    el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((cell) => el("td", {}, cell))),
  );
  const heads = head.map((cell) => el("th", { scope: "col" }, cell));
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": `${label}, table` },
    el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body)),
  );
}

/** A small square of a colour, for legends. */
export function swatch(colour: string): HTMLElement {
  const sign = el("span", { class: "swatch", "aria-hidden": "true" });
  sign.style.background = colour;
  return sign;
}
