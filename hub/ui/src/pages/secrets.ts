// My secrets: folders, and the keys of a secret.
import { showFlash } from "../lib/flash";
import { t } from "../lib/i18n";
import { pageData } from "../lib/page";
import { toast } from "../lib/toast";
import * as actions from "../secrets/actions";
import * as keys from "../secrets/keys";
import { fetchVersion, sayError } from "../secrets/store";

interface FolderData {
  readonly folder: string;
  readonly root: string;
}

interface SecretPageData extends keys.SecretData {
  readonly root: string;
  readonly deleted: boolean;
  readonly used: number;
}

const data = pageData() as FolderData | SecretPageData;
const secret = "path" in data ? data : undefined;

type Action = (button: HTMLElement, values: DOMStringMap) => Promise<void>;

const folderActions: Readonly<Record<string, Action>> = {
  "new-secret": () => actions.newSecret(data.root, "folder" in data ? data.folder : ""),
  "new-folder": () => actions.newFolder(data.root, "folder" in data ? data.folder : ""),
  move: (_, { path = "", used }) => actions.move(data.root, path, false, Number(used), secret === undefined),
  "move-folder": (_, { path = "", used }) => actions.move(data.root, path, true, Number(used), true),
  delete: (_, { path = "", version = "", used }) => actions.remove(path, version, Number(used), location.href),
  "delete-folder": (_, { path = "", count, used }) => actions.removeFolder(path, Number(count), Number(used)),
  "empty-folder": (_, { path = "", deleted }) => actions.emptyFolder(path, Number(deleted)),
  undelete: (_, { path = "", version }) => actions.undelete(path, Number(version)),
  destroy: (_, { path = "", used = "0" }) =>
    actions.destroy(path, undefined, Number(used), secret === undefined ? location.href : parentUrl()),
};

const keyActions: Readonly<Record<string, (button: HTMLElement, shown: SecretPageData) => Promise<void>>> = {
  reveal: keys.reveal,
  copy: keys.copyValue,
  remove: keys.removeKey,
  add: (_, shown) => keys.edit(shown),
  edit: (button, shown) => keys.edit(shown, button.closest<HTMLElement>("[data-key]")?.dataset.key),
  import: (_, shown) => keys.importLines(shown),
  "view-version": viewVersion,
  restore: (button, shown) => actions.restore(shown.path, versionOf(button)),
  "undelete-version": (button, shown) => actions.undelete(shown.path, versionOf(button)),
  "destroy-version": (button, shown) => actions.destroy(shown.path, versionOf(button), 0, location.href),
};

function parentUrl(): string {
  return location.pathname.replace(/[^/]+$/, "");
}

function versionOf(button: HTMLElement): number {
  return Number(button.closest<HTMLElement>("[data-version]")?.dataset.version);
}

/** Unfolds the keys and values of one version below its row, or folds them. */
async function viewVersion(button: HTMLElement, shown: SecretPageData): Promise<void> {
  const row = button.closest("li");
  const open = row?.querySelector(":scope > .dl-keys");
  if (open) open.remove();
  else row?.append(keys.versionRows(await fetchVersion(shown.path, versionOf(button))));
  button.setAttribute("aria-expanded", String(!open));
  const [text, label] = open
    ? ["secrets.version.view", "secrets.version.view.one"]
    : ["secrets.version.fold", "secrets.version.fold.one"];
  button.textContent = t(text);
  button.setAttribute("aria-label", t(label, { version: versionOf(button) }));
}

async function run(button: HTMLElement): Promise<void> {
  const name = button.dataset.action ?? "";
  try {
    if (secret !== undefined && name in keyActions) await keyActions[name]?.(button, secret);
    else await folderActions[name]?.(button, button.dataset);
  } catch (error) {
    toast(sayError(error), "danger");
  }
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-action]") : null;
  if (target !== null) void run(target);
});

window.addEventListener("beforeunload", (event) => {
  if (keys.unsaved() && document.activeElement?.closest("#editor") === null) event.preventDefault();
});

showFlash();
if (secret?.version === 0) void keys.edit(secret);
