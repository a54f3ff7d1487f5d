// `<time datetime="..." data-moment="relative|full|clock">` in words of the person's language, kept right while the page is open.
import { clockTime, dateTime, relativeTime } from "./i18n";
import { all } from "./page";

function show(element: HTMLTimeElement): void {
  const time = new Date(element.dateTime);
  if (Number.isNaN(time.getTime())) return;
  const full = dateTime(time);
  const style = element.dataset.moment;
  const text = style === "full" ? full : style === "clock" ? clockTime(time) : relativeTime(time);
  if (element.textContent !== text) element.textContent = text;
  if (element.title !== full) element.title = full;
}

/** Shows all moments within an element now; for what a script has just put into the page. */
export function showMoments(within: ParentNode = document): void {
  for (const element of all<HTMLTimeElement>("time[data-moment]", within)) show(element);
}

/** Shows them, and again every 20 seconds. */
export function enableMoments(): void {
  showMoments();
  setInterval(showMoments, 20_000, document);
}
