// Messages of administrators above every page: shown while the page is open, closed without a reload.
import { api, explain, fetchPiece } from "./api";
import { t } from "./i18n";
import { onLive } from "./live";
import { showMoments } from "./moments";
import { hubUrl, language, userName } from "./page";
import { toast } from "./toast";

/** Fetches the messages as they are now and shows them in the place of what is there. */
async function refresh(): Promise<void> {
  const place = document.getElementById("dl-notices");
  const html = await fetchPiece(`${hubUrl}datalab/notices`);
  if (place === null || html === undefined) return;
  const parsed = new DOMParser().parseFromString(html, "text/html");
  place.replaceChildren(...parsed.body.children);
  showMoments(place);
}

async function close(form: HTMLFormElement, id: string): Promise<void> {
  try {
    await api.del(`messages/${encodeURIComponent(id)}`);
    form.closest(".dl-notice")?.remove();
    document.getElementById("content")?.focus();
  } catch (error) {
    toast(explain(error), "danger");
  }
}

/** `shell.ts` calls it on every page. */
export function enableNotices(): void {
  if (userName === "") return;
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.dataset.closeNotice === undefined) return;
    event.preventDefault();
    void close(form, form.dataset.closeNotice);
  });
  onLive("warning", (data) => {
    // administrators' pages are told of everybody's
    if (data.user !== userName) return;
    if (data.kind === "idle") {
      const time = new Date(String(data.stop_at)).toLocaleTimeString(language, { timeStyle: "short" });
      toast(t("services.idle.toast", { name: String(data.title), time }), "warning");
      return;
    }
    // it is news, not an error of this page, if it cannot be fetched now
    refresh().catch(() => undefined);
  });
}
