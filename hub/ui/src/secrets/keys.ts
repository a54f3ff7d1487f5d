// The keys of a secret: values shown when asked for, changed one at a time or by lines of KEY=VALUE.
import { copyText } from "../lib/copy";
import { confirmDialog } from "../lib/dialog";
import { reloadWith } from "../lib/flash";
import { field, formDialog } from "../lib/form-dialog";
import { t } from "../lib/i18n";
import { all, icon, make, one } from "../lib/page";
import { toast } from "../lib/toast";
import { parseDotenv, type Pair } from "./dotenv";
import { generateValue, whyRefused, type Refused } from "./names";
import { fetchValue, save, sayError, type Change } from "./store";

export interface SecretData {
  readonly path: string;
  readonly version: number;
  readonly keys: readonly string[];
  readonly refused: Refused;
}

/** Milliseconds after which a value that is shown is hidden again. */
const SHOWN = 60_000;

function keyOf(button: HTMLElement): string {
  return button.closest<HTMLElement>("[data-key]")?.dataset.key ?? "";
}

/** Shows a value, or hides it. */
export async function reveal(button: HTMLElement, data: SecretData): Promise<void> {
  const row = button.closest<HTMLElement>("[data-key]");
  if (row === null) return;
  const place = one("[data-value]", row);
  if (button.getAttribute("aria-pressed") === "true") {
    hide(button, place);
    return;
  }
  const value = await fetchValue(data.path, keyOf(button));
  place.replaceChildren(make("pre", { class: "dl-value", tabindex: "0" }, value));
  setPressed(button, true);
  setTimeout(() => {
    if (place.isConnected) hide(button, place);
  }, SHOWN);
}

function hide(button: HTMLElement, place: HTMLElement): void {
  place.replaceChildren(
    make("span", { "aria-hidden": "true" }, "••••••••"),
    make("span", { class: "visually-hidden" }, t("common.masked")),
  );
  setPressed(button, false);
}

function setPressed(button: HTMLElement, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
  button.replaceChildren(icon(pressed ? "eye-off" : "eye"));
  button.title = t(pressed ? "common.hide" : "common.show");
}

/** Copies a value without showing it. */
export async function copyValue(button: HTMLElement, data: SecretData): Promise<void> {
  await copyText(await fetchValue(data.path, keyOf(button)));
}

/** Deletes a key; the version before still has it. */
export async function removeKey(button: HTMLElement, data: SecretData): Promise<void> {
  const key = keyOf(button);
  if (data.keys.length === 1) {
    toast(t("secrets.remove.last"), "warning");
    return;
  }
  const sure = await confirmDialog({
    title: t("secrets.remove.key", { name: key }),
    body: t("secrets.remove.help"),
    confirm: t("common.delete"),
    danger: true,
  });
  if (sure && (await save(data.path, data.version, { remove: [key] }))) {
    reloadWith(t("secrets.removed", { name: key }), "[data-action=add]");
  }
}

/** The form of one key, in the page: a dialog would cover the others. */
export async function edit(data: SecretData, key?: string): Promise<void> {
  const value = key === undefined ? "" : await fetchValue(data.path, key);
  const name = make("input", {
    type: "text",
    class: "dl-mono",
    value: key ?? "",
    maxlength: "128",
    autocomplete: "off",
    autocapitalize: "characters",
    spellcheck: "false",
  });
  const area = make("textarea", { class: "dl-mono", rows: "3", autocomplete: "off", spellcheck: "false" });
  area.value = value;
  const remark = make("p", { class: "dl-error", role: "alert" });
  const form = make(
    "form",
    { class: "dl-editor", novalidate: "", "aria-label": t(key === undefined ? "secrets.add" : "secrets.edit.key", { name: key ?? "" }) },
    field(t("secrets.key"), name, t("secrets.key.help")),
    field(t("secrets.value"), area, t("secrets.value.help")),
    remark,
    buttons(area),
  );
  name.addEventListener("input", () => {
    // While somebody types, only what cannot become right by typing on is said.
    remark.textContent = name.value === "" ? "" : whyRefused(name.value, data.refused);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void submit(form, remark, data, key, name.value.trim(), area.value, value);
  });
  one("#editor").replaceChildren(form);
  one("#key-actions").hidden = true;
  (key === undefined ? name : area).focus();
}

function buttons(area: HTMLTextAreaElement): HTMLElement {
  const generate = make("button", { type: "button", class: "btn btn-outline-secondary" }, icon("refresh"), t("secrets.generate"));
  generate.addEventListener("click", () => {
    area.value = generateValue();
    area.focus();
  });
  const cancel = make("button", { type: "button", class: "btn btn-outline-secondary" }, t("common.cancel"));
  cancel.addEventListener("click", closeEditor);
  const submitButton = make("button", { type: "submit", class: "btn btn-primary" }, t("common.save"));
  return make("div", { class: "dl-actions" }, submitButton, generate, cancel);
}

function closeEditor(): void {
  one("#editor").replaceChildren();
  one("#key-actions").hidden = false;
  one("[data-action=add]").focus();
}

async function submit(
  form: HTMLFormElement,
  remark: HTMLElement,
  data: SecretData,
  key: string | undefined,
  name: string,
  value: string,
  before: string,
): Promise<void> {
  const change = changeOf(data, key, name, value, before);
  if (typeof change === "string") {
    remark.textContent = change;
    one("input", form).focus();
    return;
  }
  if (change === undefined) {
    closeEditor();
    return;
  }
  const send = one<HTMLButtonElement>("[type=submit]", form);
  send.disabled = true;
  try {
    if (await save(data.path, data.version, change)) {
      reloadWith(t("secrets.saved", { name }), "[data-action=add]", location.href.replace(/\?new=1$/, ""));
    }
  } catch (error) {
    remark.textContent = sayError(error);
  } finally {
    send.disabled = false;
  }
}

/** What is to be written; a text if it cannot be, undefined if nothing was changed. */
function changeOf(
  data: SecretData,
  key: string | undefined,
  name: string,
  value: string,
  before: string,
): Change | string | undefined {
  if (name === "") return t("secrets.key.empty");
  if (name === key) return value === before ? undefined : { set: { [name]: value } };
  const reason = whyRefused(name, data.refused);
  if (reason !== "") return reason;
  if (data.keys.includes(name)) return t("secrets.key.twice", { name });
  if (key === undefined) return { set: { [name]: value } };
  return value === before ? { rename: { [key]: name } } : { remove: [key], set: { [name]: value } };
}

/** Takes lines of KEY=VALUE, says what will become of them, and writes all in one version. */
export async function importLines(data: SecretData): Promise<void> {
  const area = make("textarea", { class: "dl-mono", rows: "8", spellcheck: "false", autocomplete: "off", placeholder: "PATATE_PORT=5432" });
  const preview = make("div", { class: "dl-import", role: "status" });
  let pairs: readonly Pair[] = [];
  const show = (): string => {
    const parsed = parseDotenv(area.value);
    pairs = parsed.pairs;
    const [list, problem] = describe(parsed.pairs, parsed.wrong, data);
    preview.replaceChildren(list);
    return problem;
  };
  area.addEventListener("input", show);
  const done = await formDialog({
    title: t("secrets.import"),
    body: make("div", {}, field(t("secrets.import.lines"), area, t("secrets.import.help")), preview),
    submit: t("secrets.import.do"),
    action: async () => {
      const problem = show();
      if (problem !== "") return problem;
      const set = Object.fromEntries(pairs.map((pair) => [pair.key, pair.value]));
      return (await save(data.path, data.version, { set })) ? undefined : t("secrets.conflict");
    },
    say: sayError,
  });
  if (done) {
    const text = t("secrets.imported", { count: pairs.length });
    reloadWith(text, "[data-action=add]", location.href.replace(/\?new=1$/, ""));
  }
}

function describe(pairs: readonly Pair[], wrong: readonly number[], data: SecretData): [HTMLElement, string] {
  let problem = wrong.length ? t("secrets.import.wrong", { lines: wrong.join(", ") }) : "";
  const rows = pairs.map((pair) => {
    const reason = whyRefused(pair.key, data.refused);
    if (reason !== "" && problem === "") problem = reason;
    const state = data.keys.includes(pair.key) ? t("secrets.import.replaces") : t("secrets.import.new");
    return make("li", {}, make("code", {}, pair.key), " ", make("span", { class: reason === "" ? "dl-soft" : "dl-error" }, reason || state));
  });
  if (pairs.length === 0 && problem === "") problem = t("secrets.import.none");
  return [make("ul", { class: "dl-import-list" }, ...rows), problem];
}

/** Rows of an older version's keys, with values that are shown because the person asked for this version. */
export function versionRows(values: ReadonlyMap<string, string>): HTMLElement {
  const rows = [...values].map(([key, value]) =>
    make("li", { class: "dl-key" }, make("div", { class: "dl-key-name" }, make("code", {}, key)), make("pre", { class: "dl-value", tabindex: "0" }, value)),
  );
  return make("ul", { class: "dl-keys" }, ...rows);
}

/** Whether a form with something in it is open: leaving the page would lose it. */
export function unsaved(): boolean {
  return all<HTMLTextAreaElement>("#editor textarea").some((area) => area.value !== "" && area.value !== area.defaultValue);
}
