// Live events. One stream a browser, not one a page: over HTTP/1.1 a browser opens six connections to a site at most, and
// a seventh page would hang. The page that holds a lock has the stream and passes on what comes; when it is closed, another
// page gets the lock. Where there are no locks (http on a name), each page has a stream while it is visible.
import { api, ApiError } from "./api";
import { t } from "./i18n";
import { hubUrl, make, userName } from "./page";

/** What the hub publishes; `resync` is ours: something may have been missed, ask for everything again. */
export type LiveEvent = "session" | "announcement" | "warning" | "resync";
type Handler = (data: Record<string, unknown>) => void;
type Message =
  | { readonly kind: "event"; readonly event: LiveEvent; readonly data: Record<string, unknown> }
  | { readonly kind: "state"; readonly online: boolean }
  | { readonly kind: "question" }
  | { readonly kind: "bye" };

/** Milliseconds without a stream after which the page says so: shorter breaks are nobody's business. */
const PATIENCE = 4_000;
/** Milliseconds before a stream that the browser has given up is opened again; doubled up to the second. */
const RETRY: readonly [number, number] = [2_000, 60_000];
const EVENTS: readonly LiveEvent[] = ["session", "announcement", "warning", "resync"];

export interface LiveOptions {
  /** Events of everybody's sessions too; asks for `read:servers` over everybody. Such a page has a stream of its own. */
  readonly all?: boolean;
}

const handlers = new Map<LiveEvent, Set<Handler>>();
let started = false;
let source: EventSource | undefined;
let channel: BroadcastChannel | undefined;
let retryAfter = RETRY[0];
let retryTimer: number | undefined;
let complaint: number | undefined;
let ended = false;
/** Gives the stream of the browser to another page. */
let release: (() => void) | undefined;
let query = "";

function deliver(event: LiveEvent, data: Record<string, unknown>): void {
  for (const handler of handlers.get(event) ?? []) handler(data);
}

function send(message: Message): void {
  channel?.postMessage(message);
}

/** The note of every page that says it is offline (page.html). A stream that still opens does not hide it while the browser is. */
function showOffline(offline: boolean): void {
  const note = document.querySelector<HTMLElement>(".dl-offline");
  if (note !== null) note.hidden = !offline && navigator.onLine;
}

function setOnline(online: boolean): void {
  clearTimeout(complaint);
  if (online) showOffline(false);
  else if (!ended) complaint = setTimeout(showOffline, PATIENCE, true);
}

function signedOut(): void {
  ended = true;
  clearTimeout(complaint);
  close();
  release?.();
  const link = make("a", { href: `${hubUrl}login`, class: "alert-link" }, t("common.sign_in"));
  const note = make("p", { class: "dl-offline", role: "alert" }, t("common.live.signed_out"), " ", link);
  document.querySelector("main")?.prepend(note);
}

function parse(text: unknown): Record<string, unknown> {
  try {
    const data: unknown = JSON.parse(String(text));
    return typeof data === "object" && data !== null ? (data as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function announce(online: boolean): void {
  setOnline(online);
  send({ kind: "state", online });
}

function open(): void {
  if (source !== undefined || ended) return;
  const opened = new EventSource(`${hubUrl}api/datalab/v1/live${query}`);
  source = opened;
  opened.addEventListener("hello", () => {
    retryAfter = RETRY[0];
    announce(true);
    // What happened before this stream, or between two of them, is known only by asking.
    deliver("resync", {});
    send({ kind: "event", event: "resync", data: {} });
  });
  for (const event of EVENTS) {
    opened.addEventListener(event, (message) => {
      const data = parse(message.data);
      deliver(event, data);
      send({ kind: "event", event, data });
    });
  }
  opened.addEventListener("bye", () => {
    send({ kind: "bye" });
    signedOut();
  });
  opened.addEventListener("error", () => {
    announce(false);
    // A broken connection is opened again by the browser; an answer that is no stream (502, 401) is not.
    // Late: a page that is just being left has errors too.
    if (opened.readyState === EventSource.CLOSED) retryTimer = setTimeout(() => void reopen(), 1_500);
  });
}

/** Finds out whether the person is still signed in, and if so opens the stream again in a while. */
async function reopen(): Promise<void> {
  close();
  try {
    await api.get("/user");
  } catch (error) {
    // Anything else (nothing answers, 502) is over some time.
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
      send({ kind: "bye" });
      signedOut();
      return;
    }
  }
  retryTimer = setTimeout(open, retryAfter * (0.75 + Math.random() / 2));
  retryAfter = Math.min(retryAfter * 2, RETRY[1]);
}

function close(): void {
  clearTimeout(retryTimer);
  source?.close();
  source = undefined;
}

function receive(message: Message): void {
  if (message.kind === "event") deliver(message.event, message.data);
  else if (message.kind === "state") setOnline(message.online);
  else if (message.kind === "bye") signedOut();
  else if (source?.readyState === EventSource.OPEN) send({ kind: "state", online: true });
}

/** One stream for all pages of the browser: whoever gets the lock keeps it until it is closed. */
function share(): void {
  // By name: who signs in after somebody else in this browser has a stream of their own.
  const name = `sardonyx-live-${userName}`;
  channel = new BroadcastChannel(name);
  channel.addEventListener("message", (event: MessageEvent<Message>) => {
    receive(event.data);
  });
  send({ kind: "question" });
  void navigator.locks.request(name, () => {
    open();
    return new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  // Who gets the stream later has missed what happened since the page was made.
  setTimeout(() => {
    if (release === undefined) deliver("resync", {});
  }, 1_000);
}

function openWhileVisible(): void {
  const follow = (): void => {
    if (document.visibilityState === "visible") open();
    else close();
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}

function start(options: LiveOptions): void {
  started = true;
  // A page may say so in its HTML: what every page listens to opens the stream before the page's own script asks.
  const everybody = options.all === true || document.querySelector('[data-live="all"]') !== null;
  query = everybody ? "?all=1" : "";
  window.addEventListener("offline", () => {
    setOnline(false);
  });
  // A page that the browser keeps for "back" must not hold the stream of the others.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  if (!everybody && "locks" in navigator) share();
  else openWhileVisible();
}

/**
 * Calls `handler` with each event of a kind from now on. The first call opens the page's stream; `resync` comes when it is
 * open, and whenever something may have been missed.
 */
export function onLive(event: LiveEvent, handler: Handler, options: LiveOptions = {}): void {
  const known = handlers.get(event) ?? new Set<Handler>();
  known.add(handler);
  handlers.set(event, known);
  if (!started) start(options);
}
