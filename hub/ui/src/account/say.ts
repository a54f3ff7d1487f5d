// What went wrong, in words of this page.
import { ApiError, explain } from "../lib/api";
import { t } from "../lib/i18n";

/** What to tell about an error of a call. */
export function sayError(error: unknown): string {
  if (error instanceof ApiError && error.status === 503) return t("account.down");
  if (error instanceof ApiError && error.status === 429) return t("account.too_fast");
  return explain(error);
}
