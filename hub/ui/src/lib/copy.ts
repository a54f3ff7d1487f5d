// Copy buttons: `<button data-copy="text">`, or `data-copy-from="#id"` for the value or text of another element.
import { t } from "./i18n";
import { toast } from "./toast";

/** Puts a text on the clipboard and says so. Also where the page is not a secure context (http on a name). */
export async function copyText(text: string): Promise<void> {
  try {
    await write(text);
    toast(t("common.copied"));
  } catch {
    toast(t("common.copy_failed"), "danger");
  }
}

async function write(text: string): Promise<void> {
  if (window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  // the only way without a secure context
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser did not copy");
}

/** The text that a copy button stands for. */
function textOf(button: HTMLElement): string {
  const { copy, copyFrom } = button.dataset;
  if (copyFrom === undefined) return copy ?? "";
  const source = document.querySelector(copyFrom);
  if (source instanceof HTMLInputElement || source instanceof HTMLTextAreaElement) return source.value;
  return source?.textContent.trim() ?? "";
}

/** Makes all copy buttons work, those of later too. `shell.ts` calls it on every page. */
export function enableCopyButtons(): void {
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const button = event.target.closest<HTMLElement>("[data-copy], [data-copy-from]");
    if (button !== null) void copyText(textOf(button));
  });
  document.documentElement.classList.add("dl-scripted");
}
