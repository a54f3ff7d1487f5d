// Which keys become environment variables: the table of the server, so that it is said while a name is typed.
import { t } from "../lib/i18n";

export interface Refused {
  readonly exact: Readonly<Record<string, string>>;
  readonly prefixes: Readonly<Record<string, string>>;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

/** Why a name cannot be used, in words; empty if it can. */
export function whyRefused(name: string, refused: Refused): string {
  if (!NAME.test(name)) return t("envname.invalid", { name });
  const exact = Object.hasOwn(refused.exact, name) ? refused.exact[name] : undefined;
  const prefix = Object.entries(refused.prefixes).find(([start]) => name.startsWith(start))?.[1];
  const reason = exact ?? prefix;
  return reason === undefined ? "" : t(reason, { name });
}

/** Characters of a generated value: no sign that a shell, a URL or a YAML file reads in its own way. */
const ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

/** A value nobody can guess: 32 characters, 186 bits. */
export function generateValue(length = 32): string {
  const limit = 256 - (256 % ALPHABET.length);
  let text = "";
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) {
      // A byte above the limit would make the first letters likelier.
      if (byte < limit && text.length < length) text += ALPHABET[byte % ALPHABET.length] ?? "";
    }
  }
  return text;
}
