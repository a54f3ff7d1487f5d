// The hub's JSON API. Paths without a leading slash are those of the datalab (`api/datalab/v1/`); with one, the hub's
// own (`/users/alice` is `/hub/api/users/alice`).
import { t } from "./i18n";
import { hubUrl } from "./page";

/** Milliseconds that an answer may take. */
const LIMIT = 30_000;

/** An answer that is no success, or none at all (`status` 0); `message` is for people. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = "",
    readonly body?: unknown,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export interface RequestOptions {
  /** Milliseconds. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

function address(path: string): string {
  return path.startsWith("/") ? `${hubUrl}api${path}` : `${hubUrl}api/datalab/v1/${path}`;
}

/** The token that goes with a request: JupyterHub's XSRF cookie, which is newer than the page after another sign-in. */
export function xsrfToken(): string {
  const match = /(?:^|;\s*)_xsrf="?([^;"]*)/.exec(document.cookie);
  return match?.[1] ?? document.documentElement.dataset.xsrf ?? "";
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function toError(status: number, body: unknown): ApiError {
  const fields = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const fallback = status === 401 || status === 403 ? "common.error.signed_out" : "common.error.server";
  const said = text(fields.message) || text(fields.detail);
  return new ApiError(status, said || t(fallback), text(fields.code) || text(fields.error), body);
}

async function request(
  method: string,
  path: string,
  body: unknown,
  options: RequestOptions,
): Promise<unknown> {
  const limit = AbortSignal.timeout(options.limit ?? LIMIT);
  const headers: Record<string, string> = { Accept: "application/json", "X-XSRFToken": xsrfToken() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer: Response;
  let content: string;
  try {
    answer = await fetch(address(path), {
      method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      signal: options.signal ? AbortSignal.any([limit, options.signal]) : limit,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    content = await answer.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, t(limit.aborted ? "common.error.slow" : "common.error.offline"));
  }
  const parsed = parse(content);
  if (!answer.ok) throw toError(answer.status, parsed);
  return parsed;
}

function parse(content: string): unknown {
  if (content === "") return undefined;
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}

/** `api.get<Session[]>("sessions")`: the type is what our own API promises for that path. */
export const api = {
  get: <T = unknown>(path: string, options: RequestOptions = {}): Promise<T> =>
    request("GET", path, undefined, options) as Promise<T>,
  post: <T = unknown>(path: string, body?: unknown, options: RequestOptions = {}): Promise<T> =>
    request("POST", path, body, options) as Promise<T>,
  put: <T = unknown>(path: string, body?: unknown, options: RequestOptions = {}): Promise<T> =>
    request("PUT", path, body, options) as Promise<T>,
  patch: <T = unknown>(path: string, body?: unknown, options: RequestOptions = {}): Promise<T> =>
    request("PATCH", path, body, options) as Promise<T>,
  del: <T = unknown>(path: string, body?: unknown, options: RequestOptions = {}): Promise<T> =>
    request("DELETE", path, body, options) as Promise<T>,
};

/** A piece of one of our pages as HTML; undefined if there is no such thing any more. */
export async function fetchPiece(url: string): Promise<string | undefined> {
  const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(LIMIT) });
  if (answer.status === 404) return undefined;
  // a redirect leads to the sign-in page
  if (!answer.ok || answer.redirected) throw toError(answer.ok ? 401 : answer.status, undefined);
  return answer.text();
}

/** What to tell a person about an error that was caught. */
export function explain(error: unknown): string {
  return error instanceof ApiError ? error.message : t("common.error.script");
}
