// The catalogue: search and categories without a reload, actions of saved configurations, sessions kept up to date.
import { api, ApiError, explain, fetchPiece } from "../lib/api";
import { copyText } from "../lib/copy";
import { confirmDialog } from "../lib/dialog";
import { field, formDialog } from "../lib/form-dialog";
import { t } from "../lib/i18n";
import { onLive } from "../lib/live";
import { showMoments } from "../lib/moments";
import { all, make, one } from "../lib/page";
import { toast } from "../lib/toast";

const LIGATURES: Readonly<Record<string, string>> = { œ: "oe", æ: "ae", "’": "'", ø: "o", ł: "l", ß: "ss" };

/** Text as it is compared, the same as `normalise` of cards.py: without accents and case. */
export function normalise(text: string): string {
  return text
    .toLowerCase()
    .replace(/[œæ’øłß]/g, (char) => LIGATURES[char] ?? char)
    .normalize("NFKD")
    .replace(/\p{M}/gu, "");
}

// Search and categories -----------------------------------------------------------------------------------------

let category = "";

function matches(element: HTMLElement, words: readonly string[]): boolean {
  const text = element.dataset.words ?? "";
  return words.every((word) => text.includes(word));
}

/** Shows what the search and the category leave, and says how many. */
function filter(input: HTMLInputElement, say: boolean): void {
  const query = input.value.trim();
  const words = normalise(query).split(/\s+/).filter(Boolean);
  const found = new Map<string, number>();
  let shown = 0;
  let matching = 0;
  for (const card of all(".dl-service")) {
    const inWords = matches(card, words);
    const own = card.dataset.category ?? "";
    if (inWords) {
      matching += 1;
      found.set(own, (found.get(own) ?? 0) + 1);
    }
    card.hidden = !inWords || (category !== "" && own !== category);
    if (!card.hidden) shown += 1;
  }
  for (const tab of all<HTMLAnchorElement>("[data-choose]")) {
    const id = tab.dataset.choose ?? "";
    one(".dl-count", tab).textContent = String(id === "" ? matching : (found.get(id) ?? 0));
    if (id === category) tab.setAttribute("aria-current", "true");
    else tab.removeAttribute("aria-current");
    tab.href = address(id, query);
  }
  one("#none").hidden = shown > 0;
  if (!say) return;
  const count = shown === 0 ? "none" : shown === 1 ? "one" : "many";
  one("#found").textContent = t(`catalogue.found.${count}`, { count: shown });
  history.replaceState(null, "", address(category, query));
}

/** The address of the page with that category and search, for reloads and for colleagues. */
function address(id: string, query: string): string {
  const search = new URLSearchParams();
  if (id !== "") search.set("category", id);
  if (query !== "") search.set("q", query);
  const text = search.toString();
  return location.pathname + (text === "" ? "" : `?${text}`);
}

function enableSearch(): void {
  const input = document.querySelector<HTMLInputElement>("#q");
  if (input === null || document.querySelector(".dl-services") === null) return;
  category = new URLSearchParams(location.search).get("category") ?? "";
  if (!all("[data-choose]").some((tab) => tab.dataset.choose === category)) category = "";
  const search = (): void => {
    filter(input, true);
  };
  const look = (words: string, id: string): void => {
    input.value = words;
    category = id;
    search();
  };
  input.addEventListener("input", search);
  input.form?.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  for (const tab of all<HTMLAnchorElement>("[data-choose]")) {
    onPlainClick(tab, () => {
      look(input.value, tab.dataset.choose ?? "");
    });
  }
  for (const tag of all<HTMLAnchorElement>("[data-tag]")) {
    onPlainClick(tag, () => {
      look(tag.dataset.tag ?? "", "");
      input.focus();
    });
  }
  for (const clear of all<HTMLAnchorElement>("[data-clear]")) {
    onPlainClick(clear, () => {
      look("", "");
      input.focus();
    });
  }
  // A browser that comes back keeps what was typed.
  if (input.value !== input.defaultValue) search();
  else filter(input, false);
}

/** Clicks that would open another tab or window stay the browser's. */
function onPlainClick(link: HTMLAnchorElement, act: () => void): void {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    act();
  });
}

// Saved configurations ------------------------------------------------------------------------------------------

function nameOf(item: HTMLElement): string {
  return item.dataset.name ?? "";
}

/** What to tell about an error of the API of saved configurations. */
function problem(error: unknown): string {
  const code = error instanceof ApiError ? error.code : "";
  const known: Readonly<Record<string, string>> = {
    conflict: "catalogue.saved.conflict",
    missing: "catalogue.saved.missing",
    name: "catalogue.saved.name.invalid",
    taken: "catalogue.saved.name.taken",
  };
  const key = known[code];
  if (key !== undefined) return t(key);
  return error instanceof ApiError && error.status === 503 ? t("catalogue.saved.down") : explain(error);
}

/** Asks for a name until the API takes it, or the person gives up. */
async function rename(item: HTMLElement): Promise<void> {
  const id = item.dataset.saved ?? "";
  const input = make("input", { name: "name", maxlength: "100", autocomplete: "off", value: nameOf(item), autofocus: "" });
  const renamed = await formDialog({
    title: t("catalogue.saved.rename.title"),
    body: field(t("catalogue.saved.name"), input, t("catalogue.saved.name.help")),
    submit: t("catalogue.saved.rename.save"),
    say: (error) => {
      input.setAttribute("aria-invalid", "true");
      input.focus();
      return problem(error);
    },
    action: async () => {
      const version = Number(item.dataset.version);
      await api.patch(`saved-configurations/${id}`, { name: input.value, version });
      return undefined;
    },
  });
  if (!renamed) return;
  await refresh();
  toast(t("catalogue.saved.renamed", { name: input.value.trim() }));
  document.querySelector<HTMLElement>(`[data-saved="${CSS.escape(id)}"] summary`)?.focus();
}

async function remove(item: HTMLElement): Promise<void> {
  const name = nameOf(item);
  const sure = await confirmDialog({
    title: t("catalogue.saved.delete.title"),
    body: t("catalogue.saved.delete.text", { name }),
    confirm: t("catalogue.saved.delete"),
    danger: true,
  });
  if (!sure) return;
  try {
    await api.del(`saved-configurations/${item.dataset.saved ?? ""}`);
    toast(t("catalogue.saved.deleted", { name }));
    await refresh();
    document.getElementById("content")?.focus();
  } catch (error) {
    toast(problem(error), "danger");
  }
}

async function copyLink(link: HTMLAnchorElement): Promise<void> {
  const leftOut = link.dataset.copyLink ?? "";
  await copyText(link.href);
  toast(t("catalogue.saved.link_copied"), "info");
  if (leftOut !== "") toast(t("catalogue.saved.left_out", { names: leftOut }), "warning");
}

function enableSaved(): void {
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-rename], [data-delete], [data-copy-link]") : null;
    const item = target?.closest<HTMLElement>("[data-saved]");
    if (target === null || item === null || item === undefined) return;
    const menu = target.closest<HTMLDetailsElement>("details[data-menu]");
    if (target instanceof HTMLAnchorElement) {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      void copyLink(target);
    } else if (target.dataset.rename !== undefined) {
      void rename(item);
    } else {
      void remove(item);
    }
    if (menu !== null) {
      menu.open = false;
      menu.querySelector("summary")?.focus();
    }
  });
}

// Up to date ----------------------------------------------------------------------------------------------------

/** Parts of the page that change while it is open. */
const PARTS = ["running", "saved"];

/** Fetches the page again and puts its changing parts in the place of those that are shown. */
async function refresh(parts: readonly string[] = PARTS): Promise<void> {
  const html = await fetchPiece(location.href);
  if (html === undefined) return;
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const id of parts) {
    const shown = document.getElementById(id);
    const now = fresh.getElementById(id);
    // Not under somebody's fingers: a menu that is open, a button that has the focus.
    if (shown === null || now === null || shown.querySelector("details[data-menu][open]") !== null) continue;
    const focused = shown.contains(document.activeElement) ? document.activeElement : null;
    const label = focused?.getAttribute("aria-label");
    if (shown.querySelector(".dl-saved-more[open]") !== null) now.querySelector(".dl-saved-more")?.setAttribute("open", "");
    shown.replaceWith(now);
    showMoments(now);
    if (label) now.querySelector<HTMLElement>(`[aria-label="${CSS.escape(label)}"]`)?.focus();
  }
}

function followSessions(): void {
  let timer: number | undefined;
  const soon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      // what cannot be fetched now is there at the next event
      refresh(["running"]).catch(() => undefined);
    }, 300);
  };
  onLive("session", soon);
}

enableSearch();
enableSaved();
followSessions();
