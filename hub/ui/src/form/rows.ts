// Rows of environment variables: one empty one is enough, more come by a button.
import { all, one } from "../lib/page";

type Control = HTMLInputElement | HTMLTextAreaElement;

/** A variable as it stands in the form. The value of a secret one is only what was typed, never what is kept. */
export interface Variable {
  readonly name: string;
  readonly value: string;
  readonly secret: boolean;
}

export interface Rows {
  readonly read: () => Variable[];
  /** Replaces all rows. */
  readonly write: (variables: readonly Variable[]) => void;
}

interface Parts {
  readonly name: HTMLInputElement;
  readonly value: HTMLTextAreaElement;
  readonly secret: HTMLInputElement;
}

function parts(row: HTMLElement): Parts {
  return {
    name: one<HTMLInputElement>(".datalab-row-name input", row),
    value: one<HTMLTextAreaElement>(".datalab-row-value textarea", row),
    secret: one<HTMLInputElement>(".datalab-row-secret input", row),
  };
}

function clear(row: HTMLElement): void {
  const { name, value, secret } = parts(row);
  name.value = value.value = "";
  secret.checked = false;
}

/** What has to be new in a copy of a row: numbers in ids, names and labels. */
class Template {
  private readonly row: HTMLElement;
  private readonly index: number;

  constructor(row: HTMLElement) {
    this.row = row.cloneNode(true) as HTMLElement;
    this.index = Number(/\[(\d+)\]/.exec(parts(row).name.name)?.[1] ?? 0);
  }

  make(index: number): HTMLElement {
    const row = this.row.cloneNode(true) as HTMLElement;
    const renumber = (text: string): string =>
      text.replaceAll(`[${this.index}]`, `[${index}]`).replaceAll(`-${this.index}-`, `-${index}-`);
    const relabel = (text: string): string => text.replace(String(this.index + 1), String(index + 1));
    row.id = `option-extraEnvVars-${index}`;
    row.setAttribute("aria-label", relabel(row.getAttribute("aria-label") ?? ""));
    for (const label of all<HTMLLabelElement>("label", row)) {
      label.htmlFor = renumber(label.htmlFor);
      for (const text of label.querySelector("span") ? all("span", label) : [label]) {
        text.textContent = relabel(text.textContent);
      }
    }
    for (const control of all<Control>("input, textarea", row)) {
      control.id = renumber(control.id);
      control.name = renumber(control.name);
      control.removeAttribute("aria-describedby");
      control.removeAttribute("aria-invalid");
      control.classList.remove("is-invalid");
    }
    for (const note of all(".invalid-feedback, .form-text", row)) note.remove();
    clear(row);
    return row;
  }
}

/** Makes the rows of a container add and remove. */
export function manageRows(form: HTMLElement, changed: () => void): Rows | undefined {
  const container = form.querySelector<HTMLElement>("[data-datalab-rows]");
  if (container === null) return undefined;
  const rows = (): HTMLElement[] => all(":scope > .datalab-row", container);
  const last = rows().at(-1);
  if (last === undefined) return undefined;
  const template = new Template(last);
  for (const row of rows().slice(1).reverse()) {
    const { name, value, secret } = parts(row);
    if (name.value !== "" || value.value !== "" || secret.checked) break;
    row.remove();
  }
  let next = rows().length;
  const addButton = (row: HTMLElement): void => {
    addRemoveButton(row, form.dataset.removeLabel ?? "", rows, changed);
  };
  const append = (): HTMLElement => {
    const row = template.make(next++);
    addButton(row);
    container.append(row);
    return row;
  };
  container.classList.add("datalab-scripted");
  rows().forEach(addButton);
  container.after(makeAddButton(form.dataset.addLabel ?? "", append, changed));
  const read = (): Variable[] =>
    rows()
      .map(parts)
      .map(({ name, value, secret }) => ({ name: name.value, value: value.value, secret: secret.checked }));
  const write = (variables: readonly Variable[]): void => {
    for (const row of rows().slice(1)) row.remove();
    const first = rows()[0];
    if (first !== undefined) clear(first);
    variables.forEach((variable, index) => {
      const { name, value, secret } = parts(index === 0 && first !== undefined ? first : append());
      [name.value, value.value, secret.checked] = [variable.name, variable.value, variable.secret];
    });
    changed();
  };
  return { read, write };
}

function addRemoveButton(
  row: HTMLElement,
  label: string,
  rows: () => HTMLElement[],
  changed: () => void,
): void {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-outline-secondary";
  button.textContent = label;
  button.setAttribute("aria-label", `${label} – ${row.getAttribute("aria-label") ?? ""}`);
  button.addEventListener("click", () => {
    const others = rows().filter((other) => other !== row);
    const neighbour = others[Math.min(rows().indexOf(row), others.length - 1)];
    if (neighbour === undefined) clear(row);
    else row.remove();
    parts(neighbour ?? row).name.focus();
    changed();
  });
  row.append(button);
}

function makeAddButton(label: string, append: () => HTMLElement, changed: () => void): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-outline-secondary btn-sm";
  button.textContent = label;
  button.addEventListener("click", () => {
    parts(append()).name.focus();
    changed();
  });
  return button;
}
