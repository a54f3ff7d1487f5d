// The announcement and the catalogue.
import { api, explain } from "../lib/api";
import { reloadWith } from "../lib/flash";
import { t } from "../lib/i18n";
import { icon, make, one } from "../lib/page";
import { toast } from "../lib/toast";

/** Milliseconds after the last key before the preview is made. */
const TYPING = 300;
const ICONS: Readonly<Record<string, string>> = { info: "megaphone", warning: "warning", danger: "error" };

interface Texts {
  readonly en: string;
  readonly fr: string;
}

function textsOf(form: HTMLFormElement): Texts {
  return { en: one<HTMLTextAreaElement>("#text-en", form).value, fr: one<HTMLTextAreaElement>("#text-fr", form).value };
}

async function preview(form: HTMLFormElement): Promise<void> {
  const texts = textsOf(form);
  const level = one<HTMLSelectElement>("#level", form).value;
  const { html } = await api.post<{ html: Texts }>("admin/announcement", { text: texts });
  const lines = (["fr", "en"] as const).map((language) => {
    const text = make("p", { lang: language });
    // Made by the server from Markdown, as on every page: it has no HTML of the author's.
    text.append(...new DOMParser().parseFromString(html[language], "text/html").body.childNodes);
    const inner = make("div", { class: "dl-announcement-inner" }, icon(ICONS[level] ?? "megaphone"), text);
    return texts[language].trim() === "" ? "" : make("div", { class: `dl-announcement dl-announcement-${level}` }, inner);
  });
  one("#announcement-preview", form).replaceChildren(...lines);
  one("#announcement-nothing", form).hidden = `${texts.en}${texts.fr}`.trim() !== "";
}

/** A moment as `datetime-local` wants it: the browser's own time, without saying so. */
function local(moment: Date): string {
  const shifted = new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}

async function publish(form: HTMLFormElement): Promise<void> {
  const error = one("#announcement-error", form);
  const text = textsOf(form);
  const until = one<HTMLInputElement>("#until", form);
  error.textContent = "";
  if (`${text.en}${text.fr}`.trim() === "") {
    error.textContent = t("admin.announcement.empty");
    one("#text-fr", form).focus();
    return;
  }
  if (until.value !== "" && new Date(until.value) <= new Date()) {
    error.textContent = t("admin.announcement.past");
    until.focus();
    return;
  }
  try {
    await api.put("admin/announcement", {
      text,
      level: one<HTMLSelectElement>("#level", form).value,
      dismissable: one<HTMLInputElement>("#dismissable", form).checked,
      until: until.value === "" ? null : new Date(until.value).toISOString(),
    });
    reloadWith(t("admin.announcement.published"));
  } catch (problem) {
    error.textContent = explain(problem);
  }
}

export function enableAnnouncementForm(): void {
  const form = document.querySelector<HTMLFormElement>("form#announcement");
  if (form === null) return;
  const until = one<HTMLInputElement>("#until", form);
  const kept = until.dataset.until ?? "";
  if (kept !== "") until.value = local(new Date(kept));
  let timer = 0;
  const show = (): void => {
    preview(form).catch((error: unknown) => {
      toast(explain(error), "danger");
    });
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, TYPING);
  });
  if (`${textsOf(form).en}${textsOf(form).fr}` !== "") show();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void publish(form);
  });
  document.getElementById("announcement-remove")?.addEventListener("click", () => {
    api.del("admin/announcement").then(
      () => {
        reloadWith(t("admin.announcement.removed"));
      },
      (error: unknown) => {
        toast(explain(error), "danger");
      },
    );
  });
}

export function enableCatalogue(): void {
  document.getElementById("catalogue-reload")?.addEventListener("click", () => {
    api.post<{ problems: readonly unknown[] }>("admin/catalogue").then(
      ({ problems }) => {
        const button = "#catalogue-reload";
        if (problems.length === 0) reloadWith(t("admin.catalogue.reloaded"), button);
        else reloadWith(t("admin.catalogue.reloaded.wrong"), button, location.href, "warning");
      },
      (error: unknown) => {
        toast(explain(error), "danger");
      },
    );
  });
}
