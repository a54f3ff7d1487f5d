// My services: forms without a reload, cards that follow their sessions, usage and log while somebody looks.
import { api, explain, fetchPiece } from "../lib/api";
import { confirmDialog } from "../lib/dialog";
import { t } from "../lib/i18n";
import { onLive } from "../lib/live";
import { showMoments } from "../lib/moments";
import { all, language, make, one } from "../lib/page";
import { toast } from "../lib/toast";

interface Session {
  readonly name: string;
  readonly state: string;
  readonly progress?: { readonly percent: number; readonly message: string } | null;
}

/** Milliseconds between two looks at a session's log and use, while its page is visible. */
const LOOK_EVERY = 3_000;
/** Characters of the log that the page keeps. */
const LOG_LENGTH = 400_000;

const cards = one("#sessions");
const detail = cards.querySelector<HTMLElement>("[data-detail]")?.dataset.session;
const address = cards.dataset.cards ?? "";
const pathOf = (name: string): string => (name === "" ? "-" : name);
const cardOf = (path: string): HTMLElement | null => cards.querySelector(`[data-session="${CSS.escape(path)}"]`);

// Cards ----------------------------------------------------------------------------------------------------------------

function showEmptiness(): void {
  const note = document.getElementById("no-sessions");
  if (note !== null) note.hidden = cards.childElementCount > 0;
}

/** Puts a new card in the place of an old one, and the focus where it was. */
function replace(path: string, html: string): void {
  const parsed = new DOMParser().parseFromString(html, "text/html").querySelector<HTMLElement>("[data-session]");
  if (parsed === null) return;
  const card = document.adoptNode(parsed);
  const before = cardOf(path);
  const focused = before?.contains(document.activeElement) === true ? document.activeElement : null;
  if (before === null) cards.prepend(card);
  else before.replaceWith(card);
  showMoments(card);
  if (focused instanceof HTMLElement) {
    const same = focused.id === "" ? null : document.getElementById(focused.id);
    const next = same ?? card.querySelector<HTMLElement>(".svc-actions a, .svc-actions button");
    next?.focus();
  }
  showEmptiness();
}

const waiting = new Map<string, Promise<void>>();

/** Asks for a card again. Calls that come while one is under way are answered by one more. */
function refresh(path: string): Promise<void> {
  const running = waiting.get(path);
  if (running !== undefined) return running;
  const next = new Promise<void>((resolve) => setTimeout(resolve, 60))
    .then(() => {
      waiting.delete(path);
      return fetchPiece(`${address}?card=${encodeURIComponent(path)}${path === detail ? "&detail=1" : ""}`);
    })
    .then((html) => {
      if (html === undefined) remove(path);
      else replace(path, html);
    })
    .catch(() => undefined);
  waiting.set(path, next);
  return next;
}

function remove(path: string): void {
  const card = cardOf(path);
  if (card === null) return;
  if (path === detail) {
    location.assign(address);
    return;
  }
  card.remove();
  showEmptiness();
}

/** While a session starts, only bar and sentence change: no new card for each step. */
function showProgress(session: Session): boolean {
  const card = cardOf(pathOf(session.name));
  const bar = card?.querySelector("progress");
  const text = card?.querySelector("[data-progress]");
  if (card?.dataset.state !== "starting" || session.state !== "starting" || !session.progress) return false;
  if (!bar || !text) return false;
  bar.value = session.progress.percent;
  if (session.progress.message !== "") text.textContent = session.progress.message;
  return true;
}

function follow(session: Session): void {
  const path = pathOf(session.name);
  if (detail !== undefined && path !== detail) return;
  if (session.state === "deleted") remove(path);
  else if (!showProgress(session)) void refresh(path);
  if (path === detail) void showEvents();
}

/** Compares what the page shows with what there is, after a time in which it could not follow. */
async function compare(): Promise<void> {
  if (detail !== undefined) {
    await refresh(detail);
    return;
  }
  const { sessions } = await api.get<{ sessions: readonly Session[] }>("sessions");
  const there = new Set(sessions.map((session) => pathOf(session.name)));
  for (const card of all("[data-session]", cards)) {
    if (!there.has(card.dataset.session ?? "")) card.remove();
  }
  const changed = sessions.filter((session) => cardOf(pathOf(session.name))?.dataset.state !== session.state);
  await Promise.all(changed.map((session) => refresh(pathOf(session.name))));
  showEmptiness();
}

// Forms ----------------------------------------------------------------------------------------------------------------

async function send(form: HTMLFormElement, submitter: HTMLElement | null): Promise<void> {
  const { act = "", name = "", ask } = form.dataset;
  const path = `sessions/${encodeURIComponent(name)}`;
  const title = document.getElementById(`title-${name}`)?.textContent ?? "";
  if (ask !== undefined) {
    const question = {
      title: t(`services.${ask}.question`, { name: title }),
      body: t(`services.${ask}.body`),
      confirm: t(`services.${ask}`),
    };
    if (!(await confirmDialog(question))) return;
  }
  const button = submitter instanceof HTMLButtonElement ? submitter : form.querySelector("button");
  button?.setAttribute("aria-busy", "true");
  button?.classList.add("dl-busy");
  try {
    if (act === "rename") {
      const shown = one<HTMLInputElement>("[name=display_name]", form).value;
      await api.patch(path, { display_name: shown });
      toast(t("common.saved"));
    } else if (act === "keep-alive") {
      await api.post(`${path}/keep-alive`, { hours: Number(button?.value) });
      toast(t("services.done.keep-alive", { name: title }));
    } else {
      await api.post(`${path}/${act}`, undefined, { limit: 100_000 });
    }
  } catch (error) {
    toast(explain(error), "danger");
  } finally {
    button?.removeAttribute("aria-busy");
    button?.classList.remove("dl-busy");
  }
  await refresh(name);
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || form.dataset.act === undefined) return;
  event.preventDefault();
  if (form.querySelector("[aria-busy=true]") === null) void send(form, event.submitter);
});

// The page of one session -----------------------------------------------------------------------------------------------

function formatBytes(size: number): string {
  const units = language.startsWith("fr") ? ["o", "Kio", "Mio", "Gio", "Tio"] : ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  for (; size >= 1024 && power < units.length - 1; power++) size /= 1024;
  const digits = power === 0 || size >= 100 ? 0 : 1;
  return `${size.toLocaleString(language, { maximumFractionDigits: digits })}\u00a0${units[power] ?? ""}`;
}

interface Usage {
  readonly cpu: number | null;
  readonly memory: number | null;
  readonly processes: number | null;
}

async function showUsage(list: HTMLElement): Promise<void> {
  const usage = await api.get<Usage>(`sessions/${encodeURIComponent(list.dataset.name ?? "")}/usage`);
  const runs = usage.memory !== null;
  list.hidden = !runs;
  const note = document.getElementById("usage-none");
  if (note !== null) note.hidden = runs;
  if (usage.cpu === null || usage.memory === null || usage.processes === null) return;
  const cpu = usage.cpu.toLocaleString(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  one("[data-usage=cpu]", list).textContent = cpu;
  one("[data-usage=memory]", list).textContent = formatBytes(usage.memory);
  one("[data-usage=processes]", list).textContent = usage.processes.toLocaleString(language);
}

interface Log {
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly more: boolean;
}

async function showLog(log: HTMLElement): Promise<void> {
  for (;;) {
    const end = Number(log.dataset.end);
    const part = await api.get<Log>(`sessions/${encodeURIComponent(log.dataset.name ?? "")}/logs?after=${end}`);
    // A log that begins before the end of what is shown was put aside, and is a new one.
    const text = part.start < end ? part.text : log.textContent + part.text;
    log.dataset.end = String(part.end);
    if (part.text !== "" || part.start < end) {
      log.textContent = text.length > LOG_LENGTH ? text.slice(text.indexOf("\n", text.length - LOG_LENGTH) + 1) : text;
      log.scrollTop = log.scrollHeight;
    }
    if (!part.more) return;
  }
}

interface Happening {
  readonly at: string;
  readonly state: string;
  readonly text: string;
}

async function showEvents(): Promise<void> {
  const list = document.getElementById("events");
  if (list === null) return;
  const { events } = await api.get<{ events: readonly Happening[] }>(
    `sessions/${encodeURIComponent(list.dataset.name ?? "")}/events`,
  );
  const items = events.map((event) => {
    const time = make("time", { datetime: event.at, "data-moment": "clock" });
    const warning = event.state === "warning" ? [make("span", { class: "visually-hidden" }, `${t("services.event.warning")} `)] : [];
    return make(
      "li",
      { class: `svc-event-${event.state}` },
      make("span", { class: "svc-event-time" }, time),
      " ",
      make("span", {}, ...warning, event.text),
    );
  });
  list.replaceChildren(...items);
  showMoments(list);
  const note = document.getElementById("events-none");
  if (note !== null) note.hidden = events.length > 0;
}

/** Looks at log and use again and again, as long as somebody can see them. */
async function look(): Promise<void> {
  const log = document.getElementById("log");
  const usage = document.getElementById("usage");
  const wants = document.querySelector<HTMLInputElement>("#follow")?.checked === true;
  const active = detail !== undefined && cardOf(detail)?.dataset.state !== "stopped";
  if (document.visibilityState === "visible" && active) {
    try {
      if (log !== null && wants) await showLog(log);
      if (usage !== null) await showUsage(usage);
    } catch {
      // The next look may work; what is offline is told by the page.
    }
  }
  setTimeout(() => void look(), LOOK_EVERY);
}

onLive("session", (data) => {
  follow(data as unknown as Session);
});
onLive("resync", () => {
  compare().catch(() => undefined);
});
if (detail !== undefined) {
  const log = document.getElementById("log");
  if (log !== null) log.scrollTop = log.scrollHeight;
  void look();
}
