// A question before something that cannot be taken back. `<dialog>` keeps the focus inside and closes on Escape.
import { t } from "./i18n";
import { make } from "./page";

export interface Question {
  readonly title: string;
  /** Text, or elements such as a field to type the name of what is deleted. */
  readonly body?: string | Node;
  /** The word on the button that does it. */
  readonly confirm: string;
  readonly cancel?: string;
  readonly danger?: boolean;
}

let count = 0;

/** Asks, and resolves to whether the person confirmed. The focus goes back to where it was. */
export function confirmDialog(question: Question): Promise<boolean> {
  const id = `dialog-${++count}`;
  const cancel = make("button", { class: "btn btn-outline-secondary", value: "" }, question.cancel ?? t("common.cancel"));
  const style = question.danger ? "btn btn-danger" : "btn btn-primary";
  const confirm = make("button", { class: style, value: "confirm" }, question.confirm);
  // what destroys is not what Enter does
  (question.danger ? cancel : confirm).setAttribute("autofocus", "");
  const body = question.body === undefined ? [] : [make("div", { class: "dl-dialog-body", id: `${id}-body` }, question.body)];
  const form = make(
    "form",
    { method: "dialog" },
    make("h2", { class: "dl-dialog-title", id: `${id}-title` }, question.title),
    ...body,
    make("div", { class: "dl-dialog-actions" }, cancel, confirm),
  );
  const described = body.length ? { "aria-describedby": `${id}-body` } : {};
  const dialog = make("dialog", { class: "dl-dialog", "aria-labelledby": `${id}-title`, ...described }, form);
  return openDialog(dialog).then((value) => value === "confirm");
}

/** Shows a dialog of one's own as modal, removes it when it closes, and resolves to its return value. */
export function openDialog(dialog: HTMLDialogElement): Promise<string> {
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      resolve(dialog.returnValue);
    });
  });
}
