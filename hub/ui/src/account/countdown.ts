// How long something is still good, second by second.
import { dateTime, t } from "../lib/i18n";

/** "59 min 03 s", "1 h 02 min". */
export function inWords(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const pad = (value: number): string => String(value).padStart(2, "0");
  if (minutes >= 60) return `${String(Math.floor(minutes / 60))} h ${pad(minutes % 60)} min`;
  return minutes > 0 ? `${String(minutes)} min ${pad(seconds % 60)} s` : `${String(seconds)} s`;
}

/**
 * Shows in `place` how long is left, and calls `ended` when nothing is. Returns what starts it (again) with a moment.
 * A screen reader finds it where it is and is not told each second.
 */
export function countdown(place: HTMLElement, ended: () => void): (expiration: string) => void {
  let timer: number | undefined;
  let end = new Date(NaN);
  const tick = (): void => {
    const left = Math.floor((end.getTime() - Date.now()) / 1000);
    const box = place.closest(".dl-expiry");
    box?.classList.toggle("dl-expiry-soon", left < 300);
    if (left <= 0) {
      clearInterval(timer);
      place.textContent = t("account.expired");
      ended();
      return;
    }
    place.textContent = t("account.expires_in", { left: inWords(left), at: dateTime(end) });
  };
  return (expiration) => {
    clearInterval(timer);
    end = new Date(expiration);
    timer = setInterval(tick, 1_000);
    tick();
  };
}
