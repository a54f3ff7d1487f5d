// Short messages that come and go, read out by screen readers. What must stay is no toast: put it into the page.
import { t } from "./i18n";
import { icon, make } from "./page";

export type Kind = "info" | "success" | "warning" | "danger";

const ICONS: Readonly<Record<Kind, string>> = {
  info: "info",
  success: "check",
  warning: "warning",
  danger: "error",
};
/** Milliseconds; warnings and errors stay until they are closed. */
const LIFE = 6_000;

function region(): HTMLElement {
  const found = document.getElementById("dl-toasts");
  if (found !== null) return found;
  // the page has one (page.html); this is for pages with a template of their own
  const made = make("div", { id: "dl-toasts", class: "dl-toasts", role: "status", "aria-live": "polite" });
  document.body.append(made);
  return made;
}

/** Shows a message. */
export function toast(text: string, kind: Kind = "success"): void {
  const close = make("button", { type: "button", class: "dl-toast-close", "aria-label": t("common.close") });
  close.append(icon("close"));
  const message = make("div", { class: `dl-toast dl-toast-${kind}` }, icon(ICONS[kind]), make("p", {}, text), close);
  const remove = (): void => {
    message.remove();
  };
  close.addEventListener("click", remove);
  region().append(message);
  if (kind === "danger" || kind === "warning") return;
  let timer = setTimeout(remove, LIFE);
  const stay = (): void => {
    clearTimeout(timer);
  };
  const leave = (): void => {
    timer = setTimeout(remove, LIFE);
  };
  message.addEventListener("mouseenter", stay);
  message.addEventListener("focusin", stay);
  message.addEventListener("mouseleave", leave);
  message.addEventListener("focusout", leave);
}
