// The quotas of a person or a group: `<form data-quota="path of the API">`. An empty field sets nothing, a ticked box no limit.
import { api, ApiError, explain } from "../lib/api";
import { reloadWith } from "../lib/flash";
import { t } from "../lib/i18n";
import { all } from "../lib/page";
import { toast } from "../lib/toast";

type Limits = Record<string, Record<string, string | null>>;

function fields(form: HTMLFormElement): HTMLInputElement[] {
  return all<HTMLInputElement>('input[type="text"]', form);
}

function limitsOf(form: HTMLFormElement): Limits {
  const found: Limits = {};
  for (const input of fields(form)) {
    const [part = "", name = ""] = input.name.split(".");
    const limits = (found[part] ??= {});
    if (input.disabled) limits[name] = null;
    else if (input.value.trim() !== "") limits[name] = input.value.trim();
  }
  return found;
}

function showError(form: HTMLFormElement, error: unknown): void {
  const body = error instanceof ApiError ? (error.body as { field?: unknown } | undefined) : undefined;
  const wrong = typeof body?.field === "string" ? body.field : "";
  const input = fields(form).find((one) => one.name === wrong);
  if (input === undefined) {
    toast(explain(error), "danger");
    return;
  }
  const place = document.getElementById(`${input.id}-error`);
  if (place !== null) place.textContent = t(`admin.quota.wrong.${wrong.split(".")[1] ?? ""}`);
  input.setAttribute("aria-invalid", "true");
  input.classList.add("is-invalid");
  input.focus();
}

function clearErrors(form: HTMLFormElement): void {
  for (const place of all(".adm-error", form)) place.textContent = "";
  for (const input of fields(form)) {
    input.removeAttribute("aria-invalid");
    input.classList.remove("is-invalid");
  }
}

function follow(form: HTMLFormElement, path: string): void {
  for (const box of all<HTMLInputElement>("[data-unlimited]", form)) {
    const input = fields(form).find((one) => one.id === box.dataset.unlimited);
    box.addEventListener("change", () => {
      if (input !== undefined) input.disabled = box.checked;
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearErrors(form);
    api.put(path, limitsOf(form)).then(
      () => {
        reloadWith(t("admin.quota.saved"));
      },
      (error: unknown) => {
        showError(form, error);
      },
    );
  });
  form.querySelector("[data-quota-remove]")?.addEventListener("click", () => {
    api.del(path).then(
      () => {
        reloadWith(t("admin.quota.removed"));
      },
      (error: unknown) => {
        toast(explain(error), "danger");
      },
    );
  });
}

export function enableQuotas(): void {
  for (const form of all<HTMLFormElement>("form[data-quota]")) follow(form, form.dataset.quota ?? "");
}
