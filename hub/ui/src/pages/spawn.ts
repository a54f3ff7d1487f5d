// The launch form works without this. It adds: sliders, rows that can be added and removed, marks and buttons for what is
// not the default, a summary beside the button, the options as command, YAML and link, and a guard against pressing twice.
import type { OptionField } from "../form/fields";
import { findFields, followChanges, followSections, isChanged, serviceOf, setValues, takeBack, textOf, valuesOf } from "../form/fields";
import { addRanges } from "../form/ranges";
import type { Rows, Variable } from "../form/rows";
import { manageRows } from "../form/rows";
import type { Filled } from "../form/tools";
import { addTools } from "../form/tools";
import type { Chosen } from "../form/written";
import { t } from "../lib/i18n";
import { all } from "../lib/page";

/** One press launches; coming back by the browser's history makes the button usable again. */
function guardButton(form: HTMLFormElement): void {
  const button = form.querySelector<HTMLButtonElement>("button[data-busy-label]");
  if (button === null) return;
  const label = button.textContent;
  const setBusy = (busy: boolean): void => {
    button.disabled = busy;
    button.textContent = busy ? (button.dataset.busyLabel ?? "") : label;
  };
  form.addEventListener("submit", () => {
    setBusy(true);
  });
  addEventListener("pageshow", () => {
    setBusy(false);
  });
}

/** Who writes the name of an image means to use it. */
function linkCustomImage(fields: readonly OptionField[]): void {
  const name = fields.find((field) => field.path === "service.image.custom.version");
  const box = fields.find((field) => field.path === "service.image.custom.enabled");
  if (name === undefined || box === undefined) return;
  name.element.addEventListener("input", () => {
    const wanted = (valuesOf(name).at(-1) ?? "").trim() !== "" ? "true" : "false";
    if (valuesOf(box).at(-1) !== wanted) setValues(box, [wanted]);
  });
}

/** A long list can be searched. */
function filterLists(form: HTMLElement): void {
  for (const list of all(".datalab-list", form)) {
    const items = all(".form-check", list);
    if (items.length < 8) continue;
    const search = document.createElement("input");
    search.type = "search";
    search.className = "form-control form-control-sm datalab-filter";
    search.placeholder = t("spawn.script.filter");
    search.setAttribute("aria-label", t("spawn.script.filter"));
    search.addEventListener("input", (event) => {
      event.stopPropagation();
      const wanted = search.value.trim().toLocaleLowerCase();
      for (const item of items) item.hidden = !item.textContent.toLocaleLowerCase().includes(wanted);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
    list.before(search);
  }
}

function chosenIn(root: HTMLElement, fields: readonly OptionField[], rows: Rows | undefined): Chosen {
  const options = fields.filter(isChanged).map((field) => {
    const values = valuesOf(field);
    const value = field.several ? values : field.flag ? values.at(-1) === "true" : (values.at(-1) ?? "");
    return [field.path, value] as const;
  });
  const variables = (rows?.read() ?? []).filter(({ name }) => name !== "");
  const name = root.querySelector<HTMLInputElement>("#display_name")?.value.trim() ?? "";
  return { service: serviceOf(root), name, options, variables };
}

/** Shows beside the button what will be launched. */
function summarize(form: HTMLElement, root: HTMLElement, fields: readonly OptionField[]): void {
  const place = form.querySelector("[data-summary]");
  if (place === null) return;
  const parts: [string, string][] = [
    ["spawn.script.cpu", textOf(fields, "resources.limits.cpu")],
    ["spawn.script.memory", textOf(fields, "resources.limits.memory")],
    ["spawn.script.disk", textOf(fields, "persistence.size")],
  ];
  const service = root.querySelector("#service")?.textContent ?? "";
  const name = document.createElement("strong");
  name.textContent = service;
  const items = parts
    .filter(([, value]) => value !== "")
    .map(([key, value]) => {
      const item = document.createElement("span");
      item.textContent = `${t(key)} ${value}`;
      return item;
    });
  place.replaceChildren(name, ...items);
}

/** Puts what was read from YAML into the form; what it does not say goes back to the default. */
function fill(filled: Filled, root: HTMLElement, fields: readonly OptionField[], rows: Rows | undefined): void {
  for (const field of fields) setValues(field, filled.values[field.path] ?? field.defaults);
  const found = new Map<number, Partial<Record<"name" | "value" | "secret", string>>>();
  for (const [path, texts] of Object.entries(filled.values)) {
    const match = /^extraEnvVars\[(\d+)\]\.(name|value|secret)$/.exec(path);
    if (match === null) continue;
    const index = Number(match[1]);
    found.set(index, { ...found.get(index), [match[2] as "name"]: texts.at(-1) ?? "" });
  }
  const variables = [...found.entries()]
    .sort(([first], [second]) => first - second)
    .map(([, row]): Variable => ({ name: row.name ?? "", value: row.value ?? "", secret: row.secret === "true" }));
  rows?.write(variables);
  const name = root.querySelector<HTMLInputElement>("#display_name");
  if (name !== null && filled.name !== "") name.value = filled.name;
  for (const section of all<HTMLDetailsElement>("details.datalab-section", root)) {
    if (fields.some((field) => section.contains(field.element) && isChanged(field))) section.open = true;
  }
}

/** A link into a section that is folded opens it. */
function openTargets(root: HTMLElement): void {
  root.addEventListener("click", (event) => {
    if (!(event.target instanceof HTMLAnchorElement) || !event.target.hash) return;
    const target = document.getElementById(event.target.hash.slice(1));
    const section = target?.closest("details");
    if (target === null || !section) return;
    event.preventDefault();
    section.open = true;
    target.focus();
    target.scrollIntoView({ block: "center" });
  });
}

function start(form: HTMLFormElement, root: HTMLElement): void {
  addRanges(root);
  filterLists(root);
  openTargets(root);
  const fields = findFields(root);
  linkCustomImage(fields);
  followChanges(root, fields);
  const sections = followSections(root, fields);
  let showTools = (): void => undefined;
  const changed = (): void => {
    sections();
    summarize(form, root, fields);
    showTools();
  };
  const rows = manageRows(root, changed);
  const panel = document.getElementById("section-tools");
  if (panel !== null) {
    showTools = addTools(panel, {
      chosen: () => chosenIn(root, fields, rows),
      fill: (filled) => {
        fill(filled, root, fields, rows);
      },
    });
  }
  for (const button of all<HTMLButtonElement>("[data-take-back]", root)) {
    const path = button.dataset.takeBack ?? "";
    button.addEventListener("click", () => {
      const field = fields.find((other) => other.path === path);
      if (field !== undefined) takeBack(field);
      else document.getElementsByName(path)[0]?.closest(".datalab-row")?.querySelector("button")?.click();
      button.closest("li")?.remove();
    });
  }
  root.addEventListener("input", changed);
  root.addEventListener("change", changed);
  changed();
}

const form = document.querySelector<HTMLFormElement>("#spawn_form");
const root = form?.querySelector<HTMLElement>(".datalab-form");
if (form) {
  if (root?.querySelector("[data-service]")) start(form, root);
  guardButton(form);
}
document.getElementById("form-problems")?.focus();
