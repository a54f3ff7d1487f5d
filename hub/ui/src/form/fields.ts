// The fields of the launch form as options: what stands in them, what their defaults are, and how to set them.
import { all, make, one } from "../lib/page";
import { amount } from "./quantity";

type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** One option of the form. */
export interface OptionField {
  readonly path: string;
  readonly label: string;
  readonly element: HTMLElement;
  readonly defaults: readonly string[];
  /** Whether it holds true or false. */
  readonly flag: boolean;
  /** Whether several values can be chosen. */
  readonly several: boolean;
}

function controls(element: HTMLElement): Control[] {
  return all<Control>("input:not([type=hidden]):not([type=range]), select, textarea", element).filter(
    (control) => control.name !== "",
  );
}

function isBox(control: Control): control is HTMLInputElement {
  return control instanceof HTMLInputElement && ["checkbox", "radio"].includes(control.type);
}

/** All fields but the rows of variables. */
export function findFields(form: HTMLElement): OptionField[] {
  return all("[data-field]", form)
    .filter((element) => controls(element).some((control) => !control.disabled))
    .map((element) => {
      const box = controls(element).some((control) => control.type === "checkbox");
      const several = element.querySelector("fieldset") !== null && box;
      const defaults = JSON.parse(element.dataset.default ?? "[]") as string[];
      const { field = "", label = "" } = element.dataset;
      return { path: field, label, element, defaults, flag: box && !several, several };
    });
}

/** What stands in a field. */
export function valuesOf(field: OptionField): string[] {
  const found = controls(field.element);
  if (field.flag) return [found.some((control) => isBox(control) && control.checked) ? "true" : "false"];
  return found.filter((control) => !isBox(control) || control.checked).map((control) => control.value);
}

/** Puts values into a field; tells whoever listens to it. */
export function setValues(field: OptionField, values: readonly string[]): void {
  for (const control of controls(field.element)) {
    if (!isBox(control)) control.value = values.at(-1) ?? "";
    else if (field.flag) control.checked = ["true", "on"].includes((values.at(-1) ?? "").toLowerCase());
    else control.checked = values.includes(control.value);
    control.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** Whether something else than the default stands in a field; a quantity may be written otherwise. */
export function isChanged(field: OptionField): boolean {
  const values = valuesOf(field);
  if (field.several) {
    const wanted = new Set(field.defaults.filter((value) => value !== ""));
    return values.length !== wanted.size || values.some((value) => !wanted.has(value));
  }
  const [value = "", standard = ""] = [values.at(-1), field.defaults.at(-1)];
  const quantity = field.element.querySelector("[data-suggestions]") !== null;
  return quantity ? amount(value) !== amount(standard) : value !== standard;
}

/** Shows beside each field whether it is changed, with a button that takes the default back. */
export function followChanges(form: HTMLElement, fields: readonly OptionField[]): void {
  const words = form.dataset;
  for (const field of fields) {
    const mark = field.element.querySelector<HTMLElement>("[data-changed]");
    if (mark === null) continue;
    const standard = field.defaults.filter((value) => value !== "").join(", ");
    // The label is part of the text and no aria-label: the field is found by it, not its button.
    const button = make(
      "button",
      { type: "button", class: "datalab-take-back" },
      words.takeBackLabel ?? "",
      make("span", { class: "visually-hidden" }, ` – ${field.label}`),
    );
    button.title = standard
      ? (words.defaultLabel ?? "").replace("{default}", standard)
      : (words.defaultEmpty ?? "");
    button.addEventListener("click", () => {
      takeBack(field);
    });
    mark.after(button);
    const show = (): void => {
      mark.hidden = button.hidden = !isChanged(field);
    };
    field.element.addEventListener("input", show);
    field.element.addEventListener("change", show);
    show();
  }
}

/** Puts the default back and the focus where it was put. */
export function takeBack(field: OptionField): void {
  setValues(field, field.defaults);
  controls(field.element)[0]?.focus();
}

/** Shows which sections have something changed in them. */
export function followSections(form: HTMLElement, fields: readonly OptionField[]): () => void {
  const sections = all<HTMLDetailsElement>(".datalab-section", form);
  return () => {
    for (const section of sections) {
      const badge = section.querySelector<HTMLElement>("[data-section-changed]");
      const inside = fields.filter((field) => section.contains(field.element));
      const rows = all<HTMLInputElement>(".datalab-row-name input", section);
      const changed = inside.some(isChanged) || rows.some((input) => input.value !== "");
      if (badge !== null) badge.hidden = !changed;
    }
  };
}

/** The text that stands for a field in the summary beside the button; empty if there is none. */
export function textOf(fields: readonly OptionField[], path: string): string {
  const field = fields.find((other) => other.path === path);
  return field === undefined ? "" : (valuesOf(field).at(-1) ?? "");
}

/** Id of the service that the form is for. */
export function serviceOf(form: HTMLElement): string {
  return one("[data-service]", form).dataset.service ?? "";
}
