// What is said after a page was loaded anew because something changed, and where the focus goes then.
import { toast, type Kind } from "./toast";

const KEY = "datalab-flash";

interface Flash {
  readonly text: string;
  readonly focus: string;
  readonly kind: Kind;
}

/** Loads this page, or another one, and says there that something was done. `focus` is a selector. */
export function reloadWith(text: string, focus = "", url = location.href, kind: Kind = "success"): void {
  const flash: Flash = { text, focus, kind };
  try {
    sessionStorage.setItem(KEY, JSON.stringify(flash));
  } catch {
    // Storage is off: the page itself shows what came of it.
  }
  if (url === location.href) location.reload();
  else location.assign(url);
}

/** Says what the page before left to say. */
export function showFlash(): void {
  let kept: string | null;
  try {
    kept = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
  } catch {
    return;
  }
  if (kept === null) return;
  const flash = JSON.parse(kept) as Flash;
  // After the live region is there, so that it is read out.
  requestAnimationFrame(() => {
    toast(flash.text, flash.kind);
    if (flash.focus !== "") document.querySelector<HTMLElement>(flash.focus)?.focus();
  });
}
