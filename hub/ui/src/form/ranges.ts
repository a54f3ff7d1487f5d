// Sliders for quantities, beside the texts that stay free: one for a limit, two on one track where something can be
// guaranteed too. What is guaranteed is never above the limit: the handle that is moved pushes the other.
import { t } from "../lib/i18n";
import { all, make } from "../lib/page";
import { amount, merge, nearest } from "./quantity";

interface Handle {
  readonly text: HTMLInputElement;
  readonly slider: HTMLInputElement;
}

function label(text: HTMLInputElement): string {
  return document.querySelector(`label[for="${text.id}"]`)?.textContent ?? "";
}

function within(text: HTMLInputElement, value: string): string {
  const { min = "", max = "" } = text.dataset;
  if (min !== "" && amount(value) < amount(min)) return min;
  return max !== "" && amount(value) > amount(max) ? max : value;
}

function write(handle: Handle, value: string): void {
  if (amount(handle.text.value) === amount(value)) return;
  handle.text.value = value;
  handle.text.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Adds the sliders of one quantity. */
function addSliders(group: HTMLElement): void {
  const texts = all<HTMLInputElement>("input[data-suggestions]", group).filter((input) => !input.disabled);
  const scales = texts.map((text) => (text.dataset.suggestions ?? "").split(" "));
  const steps = merge(scales);
  if (steps.length < 3) return;
  const track = make("div", { class: texts.length > 1 ? "datalab-slider datalab-double" : "datalab-slider" });
  const fill = make("div", { class: "datalab-slider-fill" });
  track.append(make("div", { class: "datalab-slider-track" }, fill));
  const handles = texts.map((text): Handle => {
    const slider = make("input", {
      type: "range",
      min: "0",
      max: String(steps.length - 1),
      "aria-label": label(text),
    });
    track.append(slider);
    return { text, slider };
  });
  const show = (): void => {
    for (const { text, slider } of handles) {
      const wanted = amount(text.value);
      if (!Number.isNaN(wanted) && wanted > 0) slider.value = String(nearest(steps, wanted));
      slider.setAttribute("aria-valuetext", text.value);
    }
    const ends = handles.map(({ slider }) => (100 * Number(slider.value)) / (steps.length - 1));
    const low = handles.length > 1 ? (ends[0] ?? 0) : 0;
    fill.style.insetInlineStart = `${low}%`;
    fill.style.width = `${Math.max((ends.at(-1) ?? 0) - low, 0)}%`;
  };
  for (const handle of handles) {
    handle.slider.addEventListener("input", () => {
      write(handle, within(handle.text, steps[Number(handle.slider.value)] ?? handle.text.value));
      push(handles, handle);
      show();
    });
    handle.text.addEventListener("input", show);
    handle.text.addEventListener("change", () => {
      push(handles, handle);
      show();
    });
  }
  group.append(track);
  show();
}

/** Keeps what is guaranteed below the limit; the handle that was moved stays where it is. */
function push(handles: readonly Handle[], moved: Handle): void {
  const [low, high] = handles;
  if (low === undefined || high === undefined) return;
  if (!(amount(low.text.value) > amount(high.text.value))) return;
  const other = moved === low ? high : low;
  write(other, within(other.text, moved.text.value));
}

/** Says beside a quantity what is wrong with it while it is typed; the server says it again. */
function addHint(text: HTMLInputElement): void {
  const hint = make("div", { class: "datalab-hint", role: "status" });
  text.after(hint);
  // What the server has said of the value as it came needs no second sentence.
  const told = text.getAttribute("aria-invalid") === "true" ? text.value : undefined;
  const show = (): void => {
    const value = amount(text.value);
    const { min = "", max = "", left = "" } = text.dataset;
    const example = (text.dataset.suggestions ?? "").split(" ")[0] ?? "";
    if (text.value.trim() === "" || text.value === told) hint.textContent = "";
    else if (Number.isNaN(value)) hint.textContent = t("spawn.script.not_quantity", { example });
    else if (value < amount(min)) hint.textContent = t("spawn.script.below", { min });
    else if (value > amount(max)) hint.textContent = t("spawn.script.above", { max });
    else if (left !== "" && value > amount(left)) hint.textContent = t("spawn.script.above_quota", { left });
    else hint.textContent = "";
  };
  text.addEventListener("input", show);
  show();
}

/** Adds the sliders and hints of all quantities. */
export function addRanges(form: HTMLElement): void {
  for (const group of all("[data-range]", form)) addSliders(group);
  for (const text of all<HTMLInputElement>("input[data-suggestions]:not(:disabled)", form)) addHint(text);
}
