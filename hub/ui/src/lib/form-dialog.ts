// A dialog with fields that stays open until what it is for has worked: errors stand beside what was typed.
import { explain } from "./api";
import { openDialog } from "./dialog";
import { t } from "./i18n";
import { make } from "./page";

export interface FormQuestion {
  readonly title: string;
  readonly body: Node;
  readonly submit: string;
  readonly danger?: boolean;
  /** Does it. What it throws is shown in the dialog. A string is an error too. */
  readonly action: () => Promise<string | undefined>;
  /** Error in words where `explain` knows none. */
  readonly say?: (error: unknown) => string | undefined;
}

let count = 0;

/** Asks, does it, and resolves to whether it was done. */
export async function formDialog(question: FormQuestion): Promise<boolean> {
  const id = `form-dialog-${String(++count)}`;
  const error = make("p", { class: "dl-error", role: "alert", id: `${id}-error` });
  const cancel = make("button", { type: "button", class: "btn btn-outline-secondary" }, t("common.cancel"));
  const style = question.danger === true ? "btn btn-danger" : "btn btn-primary";
  const submit = make("button", { type: "submit", class: style }, question.submit);
  const form = make(
    "form",
    { novalidate: "" },
    make("h2", { class: "dl-dialog-title", id: `${id}-title` }, question.title),
    make("div", { class: "dl-dialog-body" }, question.body),
    error,
    make("div", { class: "dl-dialog-actions" }, cancel, submit),
  );
  const dialog = make("dialog", { class: "dl-dialog", "aria-labelledby": `${id}-title` }, form);
  cancel.addEventListener("click", () => {
    dialog.close("");
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    submit.disabled = true;
    error.textContent = "";
    void question
      .action()
      .catch((problem: unknown) => question.say?.(problem) ?? explain(problem))
      .then((problem) => {
        if (problem === undefined) dialog.close("done");
        else error.textContent = problem;
      })
      .finally(() => {
        submit.disabled = false;
      });
  });
  return (await openDialog(dialog)) === "done";
}

/** A labelled field with help. */
export function field(
  label: string,
  input: HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement,
  help = "",
): HTMLElement {
  const id = `field-${String(++count)}`;
  input.id = id;
  input.classList.add(input instanceof HTMLSelectElement ? "form-select" : "form-control");
  const parts: Node[] = [make("label", { for: id }, label), input];
  if (help !== "") {
    input.setAttribute("aria-describedby", `${id}-help`);
    parts.push(make("p", { class: "dl-note", id: `${id}-help` }, help));
  }
  return make("div", { class: "dl-field" }, ...parts);
}
