// What can be done with the options beside launching: save them, link to them, repeat them in a terminal, edit them as YAML.
import { api, ApiError, explain } from "../lib/api";
import { copyText } from "../lib/copy";
import { t } from "../lib/i18n";
import { hubUrl, make, one } from "../lib/page";
import { toast } from "../lib/toast";
import type { Chosen } from "./written";
import { toCommand, toLink, toTree, toYaml } from "./written";

/** What the server says that a text in YAML means for the form. */
export interface Filled {
  readonly service: string;
  readonly name: string;
  readonly values: Readonly<Record<string, readonly string[]>>;
  readonly problems: readonly { readonly field: string; readonly message: string }[];
}

interface Parts {
  readonly chosen: () => Chosen;
  readonly fill: (filled: Filled) => void;
}

const hub = new URL(hubUrl, location.href).href;

function tool(panel: HTMLElement, name: string): HTMLElement {
  return one(`[data-tool="${name}"]`, panel);
}

function tell(panel: HTMLElement, name: string, sentences: readonly string[], control: HTMLElement): void {
  const place = one(`[data-tool-problem="${name}"]`, panel);
  place.replaceChildren(...sentences.map((sentence) => make("div", {}, sentence)));
  place.classList.toggle("d-block", sentences.length > 0);
  control.classList.toggle("is-invalid", sentences.length > 0);
  if (sentences.length > 0) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

/** Makes the panel work; returns what to call when the form has changed. */
export function addTools(panel: HTMLElement, parts: Parts): () => void {
  const yaml = one<HTMLTextAreaElement>("#tool-yaml", panel);
  const command = tool(panel, "command");
  const undo = tool(panel, "undo");
  let edited = false;
  const show = (): void => {
    const chosen = parts.chosen();
    command.textContent = toCommand(chosen, hub);
    if (!edited) yaml.value = toYaml(chosen);
    undo.hidden = !edited;
  };
  const follow = (): void => {
    edited = false;
    tell(panel, "yaml", [], yaml);
    show();
  };
  yaml.addEventListener("input", (event) => {
    event.stopPropagation();
    edited = true;
    show();
  });
  undo.addEventListener("click", follow);
  tool(panel, "fill").addEventListener("click", () => void fillFrom(panel, yaml, parts, follow));
  tool(panel, "copy-command").addEventListener("click", () => void copyText(command.textContent));
  tool(panel, "copy-yaml").addEventListener("click", () => void copyText(yaml.value));
  tool(panel, "link").addEventListener("click", () => void copyText(toLink(parts.chosen(), hub)));
  addSaving(panel, parts.chosen);
  show();
  return show;
}

async function fillFrom(
  panel: HTMLElement,
  yaml: HTMLTextAreaElement,
  parts: Parts,
  follow: () => void,
): Promise<void> {
  try {
    const service = parts.chosen().service;
    const filled = await api.post<Filled>("launch-options", { service, yaml: yaml.value });
    if (filled.service !== service) {
      tell(panel, "yaml", [t("spawn.script.other_service", { service: filled.service })], yaml);
      return;
    }
    parts.fill(filled);
    follow();
    const problems = filled.problems.map(({ field, message }) => `${field} – ${message}`);
    if (problems.length > 0) tell(panel, "yaml", [t("spawn.script.problems"), ...problems], yaml);
    else toast(t("spawn.script.filled"));
  } catch (error) {
    tell(panel, "yaml", problemsOf(error), yaml);
  }
}

function addSaving(panel: HTMLElement, chosen: () => Chosen): void {
  const name = one<HTMLInputElement>("#tool-save-name", panel);
  // The form was opened to edit a saved configuration: saving changes that one.
  const edited = document.querySelector<HTMLInputElement>("input[name='_configuration']")?.value;
  if (edited !== undefined) {
    name.value = document.querySelector<HTMLInputElement>("[name='display_name']")?.value ?? "";
    panel.closest("details")?.setAttribute("open", "");
  }
  const save = async (): Promise<void> => {
    const wanted = name.value.trim();
    if (wanted === "") {
      tell(panel, "save", [t("spawn.script.save_name")], name);
      name.focus();
      return;
    }
    const now = chosen();
    try {
      // with secret values: configurations are kept in the person's secret store
      const body = { name: wanted, service: now.service, options: toTree(now, true) };
      if (edited === undefined) await api.post("saved-configurations", body);
      else await api.put(`saved-configurations/${edited}`, body);
      tell(panel, "save", [], name);
      if (edited === undefined) name.value = "";
      const lacking = edited === undefined && now.variables.some(({ secret, value }) => secret && value === "");
      toast(t(lacking ? "spawn.script.save_secrets" : "spawn.script.saved", { name: wanted }));
    } catch (error) {
      tell(panel, "save", problemsOf(error), name);
      name.focus();
    }
  };
  tool(panel, "save").addEventListener("click", () => void save());
  // Enter would launch: the field stands in the form.
  name.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    void save();
  });
}

/** The sentences of an error: one for each field that is wrong, else its own. */
function problemsOf(error: unknown): string[] {
  const body = error instanceof ApiError ? (error.body as { problems?: Filled["problems"] } | undefined) : undefined;
  const listed = (body?.problems ?? []).map(({ field, message }) => `${field} – ${message}`);
  return listed.length > 0 ? listed : [explain(error)];
}
