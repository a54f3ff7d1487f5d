// The announcement above every page: closing it without a reload, and showing a new one while the page is open.
import { fetchPiece } from "./api";
import { onLive } from "./live";
import { hubUrl, userName } from "./page";

/** Seconds for which a browser remembers which announcement was closed; the server's own value. */
const LIFE = 15_552_000;

function region(): HTMLElement | null {
  return document.getElementById("dl-announcements");
}

/** Fetches the announcement as it is now and shows it in the place of what is there. */
async function refresh(): Promise<void> {
  const place = region();
  if (place === null) return;
  const html = await fetchPiece(`${hubUrl}datalab/announcement`);
  if (html === undefined) return;
  const parsed = new DOMParser().parseFromString(html, "text/html");
  place.replaceChildren(...parsed.body.children);
}

function close(event: SubmitEvent): void {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  const id = form.dataset.closeAnnouncement;
  if (id === undefined) return;
  event.preventDefault();
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `datalab-announcement=${id}; Path=${hubUrl}; Max-Age=${LIFE}; SameSite=Lax${secure}`;
  form.closest(".dl-announcement")?.remove();
  document.getElementById("content")?.focus();
}

/** `shell.ts` calls it on every page. */
export function enableAnnouncement(): void {
  document.addEventListener("submit", close);
  if (userName === "") return;
  onLive("announcement", () => {
    // it is news, not an error of this page, if it cannot be fetched now
    refresh().catch(() => undefined);
  });
}
