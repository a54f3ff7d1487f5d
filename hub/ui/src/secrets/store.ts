// Calls to the secrets API, and what went wrong in words.
import { api, ApiError, explain } from "../lib/api";
import { confirmDialog } from "../lib/dialog";
import { t } from "../lib/i18n";

export interface Change {
  readonly set?: Readonly<Record<string, string>>;
  readonly remove?: readonly string[];
  readonly rename?: Readonly<Record<string, string>>;
}

/** Path of a secret in the API. */
export function apiPath(path: string, query: Readonly<Record<string, string | number>> = {}): string {
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  const words = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return `secrets/${encoded}${words.size ? `?${words.toString()}` : ""}`;
}

interface Values {
  readonly values: Readonly<Record<string, unknown>>;
}

/** Texts as they are, anything else as JSON: as a session has it. */
function toText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** One value; the only way a value comes into the page. */
export async function fetchValue(path: string, key: string): Promise<string> {
  const answer = await api.get<Values>(apiPath(path, { key }));
  return toText(answer.values[key]);
}

/** All values of a version. */
export async function fetchVersion(path: string, version: number): Promise<ReadonlyMap<string, string>> {
  const answer = await api.get<Values>(apiPath(path, { version }));
  return new Map(Object.entries(answer.values).map(([key, value]) => [key, toText(value)]));
}

/** What to tell about an error of a write. */
export function sayError(error: unknown): string {
  if (!(error instanceof ApiError)) return explain(error);
  const body = (error.body ?? {}) as { readonly key?: string; readonly reason?: string };
  if (error.code === "invalid-name" && body.reason !== undefined) return t(body.reason, { name: body.key ?? "" });
  if (error.code === "exists") return t("secrets.exists");
  if (error.code === "duplicate") return t("secrets.key.twice", { name: body.key ?? "" });
  if (error.code === "too-many") return t("secrets.too_many");
  if (error.status === 404) return t("secrets.gone");
  if (error.status === 503) return t("secrets.down.short");
  if (error.status === 413) return t("secrets.too_long");
  if (error.status === 429) return t("secrets.too_fast");
  return error.message;
}

/**
 * Writes a change made from `version`. If somebody wrote meanwhile (another tab, a program), the person is asked, and the
 * change goes on top of the newest version or not at all.
 */
export async function save(path: string, version: number, change: Change): Promise<boolean> {
  try {
    await write(path, version, change);
    return true;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 409) throw error;
    const newest = await api.get<{ readonly current: number }>(apiPath(path, { history: 1 }));
    const onTop = await confirmDialog({
      title: t("secrets.conflict"),
      body: t("secrets.conflict.help", { seen: version, newest: newest.current }),
      confirm: t("secrets.conflict.on_top"),
      cancel: t("secrets.conflict.keep"),
    });
    return onTop && save(path, newest.current, change);
  }
}

async function write(path: string, version: number, change: Change): Promise<void> {
  if (version === 0) await api.put(apiPath(path), { values: change.set ?? {}, cas: 0 });
  else await api.patch(apiPath(path), { cas: version, ...change });
}
