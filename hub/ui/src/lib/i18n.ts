// Sentences in the person's language: those whose prefixes the page gave to `render_page(messages=...)`.
import { language, pageData } from "./page";

const messages = (pageData("datalab-messages") ?? {}) as Readonly<Record<string, string>>;

/** The sentence of `key` with its placeholders filled in; the key itself if the page has no such sentence. */
export function t(key: string, params: Readonly<Record<string, string | number>> = {}): string {
  const text = messages[key];
  if (text === undefined) {
    console.error(`no message ${key} in this page`);
    return key;
  }
  return text.replace(/\{([a-z_]+)\}/g, (whole, name: string) => String(params[name] ?? whole));
}

const STEPS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** Better words than the "now" of Intl. */
const JUST_NOW: Readonly<Record<string, string>> = { en: "just now", fr: "à l’instant" };

/** How long ago, or in how long, in words: "3 minutes ago", "in 2 hours". */
export function relativeTime(time: Date, now = new Date()): string {
  const seconds = (time.getTime() - now.getTime()) / 1000;
  const words = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) < size) continue;
    // days to come are rounded: what a session was just given is "in 7 days", not in 6
    const whole = seconds > 0 && size >= 86_400 ? Math.round : Math.trunc;
    return words.format(whole(seconds / size), unit);
  }
  return JUST_NOW[language] ?? words.format(0, "second");
}

/** A date and time as people of that language write it. */
export function dateTime(time: Date): string {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(time);
}

/** The time of day, with seconds. */
export function clockTime(time: Date): string {
  return new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(time);
}
