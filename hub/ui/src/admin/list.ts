// Lists that the server filters, sorts and cuts: the page is asked for again and its list is put in the place of the old one.
import { explain, fetchPiece } from "../lib/api";
import { onLive } from "../lib/live";
import { showMoments } from "../lib/moments";
import { toast } from "../lib/toast";

const ID = "adm-list";
/** Milliseconds after the last key, and between two changes of sessions. */
const TYPING = 250;
const CHANGES = 1_000;

let current = 0;

/** What has the focus in the list, to find it again in the new one. */
function focused(list: HTMLElement): string {
  const element = document.activeElement;
  if (!(element instanceof HTMLElement) || !list.contains(element)) return "";
  const row = element.closest<HTMLElement>("[data-session]")?.dataset.session;
  if (row !== undefined) return `[data-session="${CSS.escape(row)}"] summary`;
  const href = element.getAttribute("href");
  return href === null ? "" : `a[href="${CSS.escape(href)}"]`;
}

/** Shows the list of `url`. An answer that comes after a later question is dropped. */
export async function showList(url: string, remember = true): Promise<void> {
  const list = document.getElementById(ID);
  if (list === null) return;
  const mine = ++current;
  try {
    const html = await fetchPiece(url);
    const found = html === undefined ? null : new DOMParser().parseFromString(html, "text/html").getElementById(ID);
    if (mine !== current || found === null) return;
    const place = focused(list);
    list.replaceChildren(...found.children);
    showMoments(list);
    if (place !== "") list.querySelector<HTMLElement>(place)?.focus();
    if (remember) history.replaceState(null, "", url);
  } catch (error) {
    if (mine === current) toast(explain(error), "danger");
  }
}

/** Shows the list as it is now. */
export function refreshList(): Promise<void> {
  return showList(location.href, false);
}

function addressOf(form: HTMLFormElement): string {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (typeof value === "string" && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text === "" ? location.pathname : `${location.pathname}?${text}`;
}

function followForm(form: HTMLFormElement): void {
  let timer = 0;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    void showList(addressOf(form));
  });
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => void showList(addressOf(form)), TYPING);
  });
}

/** Headings and pages of a list are links; with script only the list changes. */
function followLinks(): void {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[data-list-link]") : null;
    if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    void showList(link.href);
  });
}

/** Follows sessions as they change: at most one question a second, and none while a menu of the list is open. */
function followSessions(): void {
  let waiting = 0;
  const look = (): void => {
    waiting = 0;
    if (document.hidden || document.querySelector(`#${ID} details[open]`) !== null) change();
    else void refreshList();
  };
  const change = (): void => {
    if (waiting === 0) waiting = setTimeout(look, CHANGES);
  };
  onLive("session", change, { all: true });
}

export function enableList(): void {
  const list = document.getElementById(ID);
  if (list === null) return;
  const form = document.querySelector<HTMLFormElement>("form[data-list-form]");
  if (form !== null) followForm(form);
  followLinks();
  if (list.dataset.live === "all") followSessions();
  document.getElementById("health-again")?.addEventListener("click", () => void refreshList());
}
