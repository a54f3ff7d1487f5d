// Account > Vault: a token for the command line, shown once.
import { api } from "../lib/api";
import { copyText } from "../lib/copy";
import { t } from "../lib/i18n";
import { all, make, one } from "../lib/page";
import { toast } from "../lib/toast";
import { countdown } from "./countdown";
import { sayError } from "./say";

interface VaultToken {
  readonly id: string;
  readonly token: string;
  readonly expiration: string;
}

function copySnippet(): Promise<void> {
  return copyText(one("#vault-snippet").textContent);
}

/** Starts the tab. */
export function startVault(): void {
  const get = document.querySelector<HTMLButtonElement>("[data-action=vault-token]");
  if (get === null) one("[data-action=copy-vault]").addEventListener("click", () => void copySnippet());
  else startToken(get);
}

function startToken(get: HTMLButtonElement): void {
  const end = one<HTMLButtonElement>("[data-action=vault-end]");
  const expiry = one("#vault-expiry");
  let current: VaultToken | undefined;
  const forget = (): void => {
    current = undefined;
    for (const place of all("[data-fill=vault_token]")) {
      place.replaceChildren(make("span", { "aria-hidden": "true" }, "••••••••"), make("span", { class: "visually-hidden" }, t("common.masked")));
    }
    end.hidden = true;
  };
  const restart = countdown(one("#expiry-text"), forget);
  const make_ = async (): Promise<VaultToken> => {
    const made = await api.post<VaultToken>("vault-tokens");
    current = made;
    for (const place of all("[data-fill=vault_token]")) place.textContent = made.token;
    expiry.hidden = false;
    end.hidden = false;
    restart(made.expiration);
    return made;
  };
  const on = (button: HTMLElement, work: () => Promise<void>): void => {
    button.addEventListener("click", () => {
      work().catch((error: unknown) => {
        toast(sayError(error), "danger");
      });
    });
  };
  on(get, async () => {
    await make_();
  });
  on(end, async () => {
    if (current === undefined) return;
    await api.del(`vault-tokens/${current.id}`);
    forget();
    expiry.hidden = true;
    get.focus();
    toast(t("account.vault.token.ended"));
  });
  on(one("[data-action=copy-vault]"), async () => {
    if (current === undefined) await make_();
    await copySnippet();
  });
}
