// What can be done to secrets and folders as a whole: make, rename, delete, have back, destroy.
import { api, ApiError } from "../lib/api";
import { confirmDialog } from "../lib/dialog";
import { reloadWith } from "../lib/flash";
import { field, formDialog } from "../lib/form-dialog";
import { t } from "../lib/i18n";
import { make } from "../lib/page";
import { toast } from "../lib/toast";
import { apiPath, sayError } from "./store";

/** As the server checks it (`check_path`): names of any script, no dot at the beginning or end. */
const SEGMENT = /^[\p{L}\p{N}_](?:[\p{L}\p{N}_ .@+=,-]*[\p{L}\p{N}_@+=,-])?$/u;

/** Why a path cannot be one; empty if it can. */
function pathProblem(path: string): string {
  const segments = path.replace(/^\/+|\/+$/g, "").split("/");
  if (segments.join("/") === "") return t("secrets.path.empty");
  if (path.length > 400 || segments.length > 8) return t("secrets.path.long");
  const wrong = segments.find((segment) => !SEGMENT.test(segment));
  if (wrong === undefined) return "";
  return wrong.startsWith(".") ? t("secrets.path.reserved") : t("secrets.path.characters");
}

function clean(path: string): string {
  return path.trim().replace(/^\/+|\/+$/g, "");
}

function pageOf(root: string, path: string, folder = false): string {
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  return path === "" ? root : `${root.replace(/\/$/, "")}/${encoded}${folder ? "/" : ""}`;
}

/** Whether there is a secret at a path, be it a deleted one; its folder is asked, which is no error if it is not there. */
async function exists(path: string): Promise<boolean> {
  const slash = path.lastIndexOf("/");
  const folder = slash === -1 ? "secrets" : apiPath(path.slice(0, slash + 1));
  const found = await api.get<{ readonly secrets: readonly string[] }>(folder);
  return found.secrets.includes(path.slice(slash + 1));
}

function textField(value: string): HTMLInputElement {
  return make("input", {
    type: "text",
    value,
    maxlength: "400",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    autofocus: "",
    required: "",
  });
}

/** Asks for a name and goes to the page of the new secret: it is there once it has a key. */
export async function newSecret(root: string, folder: string): Promise<void> {
  const input = textField(folder === "" ? "" : `${folder}/`);
  const done = await formDialog({
    title: t("secrets.new"),
    body: field(t("secrets.new.name"), input, t("secrets.new.help")),
    submit: t("secrets.new.continue"),
    action: async () => {
      const path = clean(input.value);
      const problem = pathProblem(path);
      if (problem !== "") return problem;
      return (await exists(path)) ? t("secrets.exists") : undefined;
    },
    say: sayError,
  });
  if (done) location.assign(`${pageOf(root, clean(input.value))}?new=1`);
}

/** A folder is there while something is in it: this opens an empty one. */
export async function newFolder(root: string, folder: string): Promise<void> {
  const input = textField(folder === "" ? "" : `${folder}/`);
  const done = await formDialog({
    title: t("secrets.new_folder"),
    body: field(t("secrets.new_folder.name"), input, t("secrets.new_folder.help")),
    submit: t("secrets.new.continue"),
    action: () => Promise.resolve(pathProblem(clean(input.value)) || undefined),
  });
  if (done) location.assign(pageOf(root, clean(input.value), true));
}

/** Gives a secret or a folder another path. */
export async function move(root: string, path: string, folder: boolean, used: number, stay: boolean): Promise<void> {
  const input = textField(path);
  const body = make("div", {}, field(t("secrets.move.to"), input, t("secrets.move.help")));
  if (used > 0) body.append(make("p", { class: "dl-note" }, t("secrets.move.used")));
  const done = await formDialog({
    title: t(folder ? "secrets.move.folder" : "secrets.move.secret", { name: path }),
    body,
    submit: t("secrets.move"),
    action: async () => {
      const to = clean(input.value);
      const problem = pathProblem(to);
      if (problem !== "") return problem;
      if (to === path) return t("secrets.move.same");
      await api.post(apiPath(path) + (folder ? "/" : ""), { action: "move", to }, { limit: 120_000 });
      return undefined;
    },
    say: sayError,
  });
  if (done) reloadWith(t("secrets.moved"), "h1", stay ? location.href : pageOf(root, clean(input.value)));
}

/** Deletes so that it can be had back. */
export async function remove(path: string, version: string, used: number, next: string): Promise<void> {
  const sure = await confirmDialog({
    title: t("secrets.delete.secret", { name: path }),
    body: `${t("secrets.delete.help")} ${used > 0 ? t("secrets.delete.used", { count: used }) : ""}`,
    confirm: t("common.delete"),
    danger: true,
  });
  if (!sure) return;
  await attempt(async () => {
    await api.del(apiPath(path, version === "" ? {} : { version }));
    reloadWith(t("secrets.deleted.done", { name: path }), "h1", next);
  });
}

/** Destroys for ever what was deleted in a folder that holds nothing else. */
export async function emptyFolder(path: string, deleted: number): Promise<void> {
  const done = await formDialog({
    title: t("secrets.destroy.folder", { name: path }),
    body: make("p", {}, t("secrets.destroy.folder.help", { count: deleted })),
    submit: t("secrets.destroy"),
    danger: true,
    action: async () => {
      await api.del(apiPath(`${path}/`, { forever: 1, expected: deleted }), undefined, { limit: 120_000 });
      return undefined;
    },
    say: sayError,
  });
  if (done) reloadWith(t("secrets.destroyed"), "h1");
}

/** Deletes all in a folder; says how many, and does nothing if it is not that many any more. */
export async function removeFolder(path: string, count: number, used: number): Promise<void> {
  const sure = await confirmDialog({
    title: t("secrets.delete.folder", { name: path }),
    body: make(
      "div",
      {},
      make("p", {}, make("strong", {}, count === 1 ? t("secrets.count.one") : t("secrets.count", { count }))),
      make("p", {}, t("secrets.delete.folder.help")),
      used > 0 ? make("p", {}, t("secrets.delete.used", { count: used })) : "",
    ),
    confirm: count === 1 ? t("common.delete") : t("secrets.delete.folder.confirm", { count }),
    danger: true,
  });
  if (!sure) return;
  await attempt(async () => {
    const encoded = apiPath(`${path}/`, { expected: count });
    const done = await api.del<{ readonly deleted: number }>(encoded, undefined, { limit: 120_000 });
    reloadWith(t("secrets.deleted.folder", { count: done.deleted }), "h1");
  });
}

/** Has the newest version of a deleted secret back. */
export async function undelete(path: string, version: number): Promise<void> {
  await attempt(async () => {
    await api.post(apiPath(path), { action: "undelete", version });
    reloadWith(t("secrets.undeleted"), "h1");
  });
}

/** Makes the values of an older version the newest ones. */
export async function restore(path: string, version: number): Promise<void> {
  await attempt(async () => {
    await api.post(apiPath(path), { action: "restore", version });
    reloadWith(t("secrets.restored", { version }), "h1");
  });
}

/** Destroys a version, or all of a secret, for ever; the name has to be typed for all of it. */
export async function destroy(path: string, version: number | undefined, used: number, next: string): Promise<void> {
  const all = version === undefined;
  const name = path.slice(path.lastIndexOf("/") + 1);
  const input = textField("");
  const body = make("div", {}, make("p", {}, t(all ? "secrets.destroy.help" : "secrets.destroy.version.help")));
  if (all && used > 0) body.append(make("p", {}, t("secrets.delete.used", { count: used })));
  if (all) body.append(field(t("secrets.destroy.type", { name }), input));
  const done = await formDialog({
    title: all ? t("secrets.destroy.secret", { name: path }) : t("secrets.version.destroy.one", { version }),
    body,
    submit: t("secrets.destroy"),
    danger: true,
    action: async () => {
      if (all && input.value.trim() !== name) return t("secrets.destroy.other");
      await api.del(apiPath(path, { forever: 1, ...(all ? {} : { version }) }));
      return undefined;
    },
    say: sayError,
  });
  if (done) reloadWith(t("secrets.destroyed"), "h1", next);
}

async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const conflict = error instanceof ApiError && error.status === 409;
    toast(conflict ? t("secrets.conflict.delete") : sayError(error), "danger");
  }
}
