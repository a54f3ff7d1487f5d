// What an administrator does to people and their sessions: write to them, stop.
import { api } from "../lib/api";
import { field, formDialog } from "../lib/form-dialog";
import { t } from "../lib/i18n";
import { make } from "../lib/page";
import { toast } from "../lib/toast";
import { refreshList } from "./list";

const MOST = 1000;

function textArea(): HTMLTextAreaElement {
  return make("textarea", { rows: "4", maxlength: String(MOST) });
}

/** Writes to a person, about one of their sessions where one is named. */
async function warn(person: string, session: string | undefined): Promise<void> {
  const text = textArea();
  const done = await formDialog({
    title: t("admin.warn.title", { person }),
    body: field(t("admin.warn.text"), text, t("admin.warn.help")),
    submit: t("admin.warn.send"),
    action: async () => {
      if (text.value.trim() === "") return t("admin.warn.empty");
      const about = session === undefined ? {} : { session };
      await api.post(`admin/people/${encodeURIComponent(person)}/messages`, { text: text.value, ...about });
      return undefined;
    },
  });
  if (done) toast(t("admin.warn.sent", { person }));
}

async function stop(person: string, path: string, session: string): Promise<void> {
  const text = textArea();
  const body = make("div", {}, make("p", {}, t("admin.stop.body")));
  body.append(field(`${t("admin.stop.text")} (${t("common.optional")})`, text, t("admin.warn.help")));
  const answer = { stopped: true };
  const done = await formDialog({
    title: t("admin.stop.title", { person, session }),
    body,
    submit: t("admin.stop"),
    danger: true,
    action: async () => {
      const address = `admin/people/${encodeURIComponent(person)}/sessions/${encodeURIComponent(path)}/stop`;
      Object.assign(answer, await api.post<typeof answer>(address, { message: text.value }));
      return undefined;
    },
  });
  if (!done) return;
  toast(t(answer.stopped ? "admin.stop.done" : "admin.stop.under_way", { person, session }));
  await refreshList();
}

export function enableActions(): void {
  document.addEventListener("click", (event) => {
    const button =
      event.target instanceof Element ? event.target.closest<HTMLElement>("[data-warn], [data-stop]") : null;
    if (button === null) return;
    button.closest<HTMLDetailsElement>("details[data-menu]")?.removeAttribute("open");
    const { warn: warned, stop: stopped, sessionName, path, title } = button.dataset;
    if (warned !== undefined) void warn(warned, sessionName);
    else if (stopped !== undefined) void stop(stopped, path ?? "", title ?? "");
  });
}
