// Account > API tokens: JupyterHub's own, in words.
import { api } from "../lib/api";
import { confirmDialog } from "../lib/dialog";
import { reloadWith } from "../lib/flash";
import { t } from "../lib/i18n";
import { all, icon, make, one, userName } from "../lib/page";
import { toast } from "../lib/toast";
import { sayError } from "./say";

type Choices = Readonly<Record<string, readonly string[] | null>>;

function path(id = ""): string {
  return `/users/${encodeURIComponent(userName)}/tokens${id === "" ? "" : `/${encodeURIComponent(id)}`}`;
}

async function revoke(id: string, note: string): Promise<void> {
  const sure = await confirmDialog({
    title: t("account.tokens.revoke.one", { note: note || t("account.tokens.no_note") }),
    body: t("account.tokens.revoke.help"),
    confirm: t("account.tokens.revoke"),
    danger: true,
  });
  if (!sure) return;
  try {
    await api.del(path(id));
    reloadWith(t("account.tokens.revoked"), "h1");
  } catch (error) {
    toast(sayError(error), "danger");
  }
}

/** Shows a new token: this once. */
function showToken(token: string, note: string): void {
  const value = make("input", { class: "form-control dl-mono", id: "new-token-value", readonly: "", value: token, "aria-describedby": "new-token-help" });
  const copy = make("button", { type: "button", class: "btn btn-primary", "data-copy-from": "#new-token-value" }, icon("copy"), t("common.copy"));
  const done = make("button", { type: "button", class: "btn btn-outline-secondary" }, t("account.tokens.new.done"));
  done.addEventListener("click", () => {
    location.reload();
  });
  const place = one("#new-token");
  place.replaceChildren(
    make("label", { for: "new-token-value" }, t("account.tokens.new", { note })),
    make("div", { class: "dl-field-row" }, value, copy, done),
    make("p", { class: "dl-note", id: "new-token-help" }, t("account.tokens.new.help")),
  );
  place.hidden = false;
  value.focus();
  value.select();
}

async function create(form: HTMLFormElement, choices: Choices): Promise<void> {
  const fields = new FormData(form);
  const text = (name: string): string => {
    const value = fields.get(name);
    return typeof value === "string" ? value.trim() : "";
  };
  const note = text("note");
  const may = fields.getAll("may").map(String);
  const error = one("#token-error");
  error.textContent = note === "" ? t("account.tokens.note.missing") : may.length === 0 ? t("account.tokens.may.missing") : "";
  if (error.textContent !== "") return;
  const expiry = text("expiry");
  const everything = may.some((name) => choices[name] === null);
  const body = {
    note,
    expires_in: expiry === "" ? null : Number(expiry),
    ...(everything ? {} : { scopes: may.flatMap((name) => choices[name] ?? []) }),
  };
  const button = one<HTMLButtonElement>("[type=submit]", form);
  button.disabled = true;
  try {
    const made = await api.post<{ readonly token: string }>(path(), body);
    form.reset();
    showToken(made.token, note);
  } catch (problem) {
    error.textContent = sayError(problem);
  } finally {
    button.disabled = false;
  }
}

/** Starts the tab. */
export function startTokens(choices: Choices): void {
  for (const button of all("[data-action=revoke]")) {
    const row = button.closest<HTMLElement>("[data-token]");
    button.addEventListener("click", () => {
      void revoke(row?.dataset.token ?? "", row?.dataset.note ?? "");
    });
  }
  const form = one<HTMLFormElement>("#token-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void create(form, choices);
  });
}
