// Account > Storage: keys when asked for, how long they live, and pieces of code with them.
import { api } from "../lib/api";
import { copyText } from "../lib/copy";
import { t } from "../lib/i18n";
import { all, icon, make, one } from "../lib/page";
import { toast } from "../lib/toast";
import { countdown } from "./countdown";
import { sayError } from "./say";

interface S3 {
  readonly access_key_id: string;
  readonly secret_access_key: string;
  readonly session_token: string;
  readonly expiration: string;
}

interface Answer {
  readonly s3: S3 | null;
  readonly problems: readonly { readonly source: string; readonly message: string }[];
}

const NAMES = ["access_key_id", "secret_access_key", "session_token"] as const;
type Name = (typeof NAMES)[number];

/** The person's own keys; `refresh` makes new ones. Kept nowhere. */
async function fetchKeys(refresh = false): Promise<S3> {
  const answer = await api.get<Answer>(`credentials${refresh ? "?refresh=1" : ""}`);
  const problem = answer.problems.find((one) => one.source === "s3");
  if (answer.s3 === null) throw new Error(problem?.message ?? t("account.storage.no_keys"));
  if (problem !== undefined) toast(problem.message, "warning");
  return answer.s3;
}

function isName(name: string | undefined): name is Name {
  return NAMES.some((one) => one === name);
}

function fill(keys: S3 | undefined): void {
  for (const place of all("[data-fill]")) {
    const name = place.dataset.fill;
    if (!isName(name)) continue;
    if (keys === undefined) place.replaceChildren(...dots());
    else place.textContent = keys[name];
  }
}

function dots(): Node[] {
  return [make("span", { "aria-hidden": "true" }, "••••••••"), make("span", { class: "visually-hidden" }, t("common.masked"))];
}

/** The code of a snippet with keys, whether they are shown or not. */
function withKeys(code: Element, keys: S3): string {
  return [...code.childNodes]
    .map((node) => {
      const name = node instanceof HTMLElement ? node.dataset.fill : undefined;
      return isName(name) ? keys[name] : (node.textContent ?? "");
    })
    .join("");
}

/** Starts the tab. */
export function startStorage(expiration: string | null): void {
  const show = document.querySelector<HTMLElement>("[data-action=show-keys]");
  if (show === null) return;
  let shown = false;
  const setShown = (keys: S3 | undefined): void => {
    shown = keys !== undefined;
    fill(keys);
    show.setAttribute("aria-pressed", String(shown));
    show.replaceChildren(icon(shown ? "eye-off" : "eye"), make("span", {}, t(shown ? "account.storage.hide" : "account.storage.show")));
  };
  const restart = countdown(one("#expiry-text"), () => {
    setShown(undefined);
  });
  const take = async (refresh = false): Promise<S3> => {
    const keys = await fetchKeys(refresh);
    restart(keys.expiration);
    return keys;
  };
  if (expiration !== null) restart(expiration);
  const on = (selector: string, work: (button: HTMLElement) => Promise<void>): void => {
    for (const button of all(selector)) {
      button.addEventListener("click", () => {
        work(button).catch((error: unknown) => {
          toast(error instanceof Error ? error.message : sayError(error), "danger");
        });
      });
    }
  };
  on("[data-action=show-keys]", async () => {
    setShown(shown ? undefined : await take());
  });
  on("[data-action=renew]", async () => {
    const keys = await take(true);
    if (shown) setShown(keys);
    toast(t("account.storage.renewed"));
  });
  on("[data-copy-key]", async (button) => {
    const name = button.dataset.copyKey;
    if (isName(name)) await copyText((await take())[name]);
  });
  on("[data-copy-snippet]", async (button) => {
    const code = one(`[data-snippet="${button.dataset.copySnippet ?? ""}"]`);
    await copyText(withKeys(code, await take()));
  });
}
