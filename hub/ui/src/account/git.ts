// Account > Git: who commits, and the token, for each host.
import { api } from "../lib/api";
import { confirmDialog } from "../lib/dialog";
import { reloadWith } from "../lib/flash";
import { field } from "../lib/form-dialog";
import { t } from "../lib/i18n";
import { all, icon, make, one } from "../lib/page";
import { toast } from "../lib/toast";
import { sayError } from "./say";

export interface Account {
  readonly host: string;
  readonly username: string;
  readonly name: string;
  readonly email: string;
  readonly token_set: boolean;
}

const HOST = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::\d{1,5})?$/;

/** What people type or paste: a host, or the address of a repository on it. */
function hostOf(text: string): string {
  const trimmed = text.trim().toLowerCase();
  const scp = /^[^@/\s]+@([^:/\s]+):/.exec(trimmed)?.[1];
  if (scp !== undefined) return scp;
  return trimmed.replace(/^[a-z+]+:\/\//, "").replace(/^[^@/]*@/, "").replace(/\/.*$/, "");
}

/** Where a token is made; empty where we do not know. */
function tokenPage(host: string): string {
  const note = encodeURIComponent("Datalab");
  if (host === "github.com") return `https://github.com/settings/tokens/new?scopes=repo&description=${note}`;
  if (/^gitlab\.|\.gitlab\.|forge/.test(host)) {
    return `https://${host}/-/user_settings/personal_access_tokens?name=${note}&scopes=read_repository,write_repository`;
  }
  if (/^codeberg\.org$|gitea|forgejo/.test(host)) return `https://${host}/user/settings/applications`;
  return host === "bitbucket.org" ? "https://id.atlassian.com/manage-profile/security/api-tokens" : "";
}

function input(value: string, extra: Readonly<Record<string, string>> = {}): HTMLInputElement {
  return make("input", { type: "text", value, autocomplete: "off", spellcheck: "false", maxlength: "255", ...extra });
}

/** Shows where to make a token for the host that is typed. */
function tokenHelp(host: HTMLInputElement): HTMLElement {
  const place = make("p", { class: "dl-note" });
  const show = (): void => {
    const name = hostOf(host.value);
    const url = tokenPage(name);
    const link = make("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, t("account.git.token.make", { host: name }), icon("external"));
    place.replaceChildren(...(url === "" ? [t("account.git.token.where")] : [link]));
  };
  host.addEventListener("input", show);
  show();
  return place;
}

function hostList(): HTMLDataListElement {
  const known = ["github.com", "gitlab.com", "codeberg.org", "bitbucket.org"];
  return make("datalist", { id: "git-hosts" }, ...known.map((host) => make("option", { value: host })));
}

function open(account: Account | undefined): void {
  const host = input(account?.host ?? "", { list: "git-hosts", ...(account ? { readonly: "" } : {}) });
  const username = input(account?.username ?? "");
  const name = input(account?.name ?? "");
  const email = input(account?.email ?? "", { type: "email", maxlength: "320" });
  const token = input("", { type: "password", maxlength: "4096", autocomplete: "new-password" });
  const error = make("p", { class: "dl-error", role: "alert" });
  const cancel = make("button", { type: "button", class: "btn btn-outline-secondary" }, t("common.cancel"));
  const form = make(
    "form",
    { class: "dl-editor", novalidate: "", "aria-label": t(account ? "account.git.change.one" : "account.git.add", { host: account?.host ?? "" }) },
    hostList(),
    field(t("account.git.host"), host, t("account.git.host.help")),
    field(t("account.git.name"), name, t("account.git.name.help")),
    field(t("account.git.email"), email, t("account.git.email.help")),
    field(t("account.git.username"), username, t("account.git.username.help")),
    field(t("account.git.token"), token, t(account?.token_set ? "account.git.token.kept" : "account.git.token.help")),
    tokenHelp(host),
    error,
    make("div", { class: "dl-actions" }, make("button", { type: "submit", class: "btn btn-primary" }, t("common.save")), cancel),
  );
  cancel.addEventListener("click", () => {
    form.remove();
    one("[data-action=add-git]").focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = { username: username.value, name: name.value, email: email.value };
    void submit(form, error, hostOf(host.value), token.value === "" ? values : { ...values, token: token.value });
  });
  one("#git-editor").replaceChildren(form);
  (account ? name : host).focus();
}

async function submit(
  form: HTMLFormElement,
  error: HTMLElement,
  host: string,
  values: Readonly<Record<string, string>>,
): Promise<void> {
  const email = values.email ?? "";
  error.textContent = "";
  if (!HOST.test(host)) error.textContent = t("account.git.host.wrong");
  else if (email !== "" && !/^[^@\s]+@[^@\s]+$/.test(email)) error.textContent = t("account.git.email.wrong");
  if (error.textContent !== "") return;
  const button = one<HTMLButtonElement>("[type=submit]", form);
  button.disabled = true;
  try {
    await api.put(`git-accounts/${encodeURIComponent(host)}`, values);
    reloadWith(t("account.git.saved", { host }), "[data-action=add-git]");
  } catch (problem) {
    error.textContent = sayError(problem);
  } finally {
    button.disabled = false;
  }
}

async function remove(host: string): Promise<void> {
  const sure = await confirmDialog({
    title: t("account.git.delete.one", { host }),
    body: t("account.git.delete.help"),
    confirm: t("common.delete"),
    danger: true,
  });
  if (!sure) return;
  try {
    await api.del(`git-accounts/${encodeURIComponent(host)}`);
    reloadWith(t("account.git.deleted", { host }), "[data-action=add-git]");
  } catch (error) {
    toast(sayError(error), "danger");
  }
}

/** Starts the tab. */
export function startGit(accounts: readonly Account[]): void {
  for (const button of all("[data-action$=-git]")) {
    const host = button.closest<HTMLElement>("[data-host]")?.dataset.host;
    button.addEventListener("click", () => {
      if (button.dataset.action === "delete-git") void remove(host ?? "");
      else open(accounts.find((account) => account.host === host));
    });
  }
}
