// What the server says about the page: attributes of <html>, and data in JSON scripts.

/** Parses a `<script type="application/json" id="...">`; undefined if the page has none. */
export function pageData(id = "datalab-data"): unknown {
  const element = document.getElementById(id);
  return element === null ? undefined : JSON.parse(element.textContent);
}

/** The hub's prefix, such as `/hub/`. */
export const hubUrl: string = document.documentElement.dataset.hub ?? "/hub/";

/** The language of the page, such as `fr`. */
export const language: string = document.documentElement.lang || "en";

/** The name of the person who is signed in; empty on the sign-in page. */
export const userName: string = document.documentElement.dataset.user ?? "";

/** Finds one element, which must be there. */
export function one<T extends Element = HTMLElement>(
  selector: string,
  within: ParentNode = document,
): T {
  const found = within.querySelector<T>(selector);
  if (found === null) throw new Error(`${selector} is not in the page`);
  return found;
}

/** Finds all elements, as an array. */
export function all<T extends Element = HTMLElement>(
  selector: string,
  within: ParentNode = document,
): T[] {
  return [...within.querySelectorAll<T>(selector)];
}

/** Makes an element: `make("p", { class: "dl-note", hidden: "" }, "text", child)`. Strings stay text. */
export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Makes an icon of `icons.svg`, as the macro `icon` of the templates does; it says nothing to screen readers. */
export function icon(name: string): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "dl-icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${document.documentElement.dataset.icons ?? ""}#${name}`);
  svg.append(use);
  return svg;
}
