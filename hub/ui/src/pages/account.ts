// Account: each tab is a page of its own.
import { startGit, type Account } from "../account/git";
import { startStorage } from "../account/storage";
import { startTokens } from "../account/tokens";
import { startVault } from "../account/vault";
import { showFlash } from "../lib/flash";
import { pageData } from "../lib/page";

interface Data {
  readonly accounts?: readonly Account[];
  readonly expiration?: string | null;
  readonly choices?: Readonly<Record<string, readonly string[] | null>>;
}

const data = (pageData() ?? {}) as Data;

showFlash();
if (data.accounts !== undefined) startGit(data.accounts);
if (document.getElementById("expiry") !== null) startStorage(data.expiration ?? null);
if (document.getElementById("vault-snippet") !== null) startVault();
if (data.choices !== undefined) startTokens(data.choices);
