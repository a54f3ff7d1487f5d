// The launch form works without this. It adds: rows of environment variables that can be added and removed, sliders for
// quantities, and a button that cannot be pressed twice.

/** Rows of environment variables: one empty one is enough, more come by a button. */
function manageRows(container, labels) {
  const rows = () => [...container.querySelectorAll(":scope > .datalab-row")];
  const controls = (row) => [...row.querySelectorAll("input, textarea")];
  const isEmpty = (row) => controls(row).every((control) => control.value === "");

  const addRemoveButton = (row) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-outline-secondary";
    button.textContent = labels.remove;
    button.setAttribute("aria-label", `${labels.remove} – ${row.getAttribute("aria-label")}`);
    button.addEventListener("click", () => {
      const others = rows().filter((other) => other !== row);
      const neighbour = others[Math.min(rows().indexOf(row), others.length - 1)];
      if (neighbour) {
        row.remove();
        controls(neighbour)[0].focus();
      } else {
        for (const control of controls(row)) control.value = "";
        controls(row)[0].focus();
      }
    });
    row.append(button);
  };

  const template = rows().at(-1).cloneNode(true);
  const templateIndex = rows().length - 1;
  for (const row of rows().slice(1).reverse()) {
    if (!isEmpty(row)) break;
    row.remove();
  }
  let next = rows().length;
  container.classList.add("datalab-scripted");
  rows().forEach(addRemoveButton);

  const renumber = (text, index) =>
    text.replaceAll(`[${templateIndex}]`, `[${index}]`).replaceAll(`-${templateIndex}-`, `-${index}-`);
  const add = document.createElement("button");
  add.type = "button";
  add.className = "btn btn-outline-secondary btn-sm";
  add.textContent = labels.add;
  add.addEventListener("click", () => {
    const row = template.cloneNode(true);
    const index = next++;
    row.id = `option-extraEnvVars-${index}`;
    const number = String(index + 1);
    row.setAttribute("aria-label", row.getAttribute("aria-label").replace(/\d+$/, number));
    for (const label of row.querySelectorAll("label")) {
      label.htmlFor = renumber(label.htmlFor, index);
      label.textContent = label.textContent.replace(/\d+$/, number);
    }
    for (const control of controls(row)) {
      control.id = renumber(control.id, index);
      control.name = renumber(control.name, index);
      control.value = "";
    }
    addRemoveButton(row);
    container.append(row);
    controls(row)[0].focus();
  });
  container.after(add);
}

/** The number of bytes or cores that a quantity means; NaN if it is none. */
function amount(text) {
  const match = /^(\d+\.?\d*|\.\d+)(m|k|[MGTP]|[KMGTP]i)?$/.exec(text.trim());
  if (!match) return NaN;
  const [, number, unit = ""] = match;
  if (unit === "m") return Number(number) / 1000;
  const power = " kMGTP".indexOf(unit[0] === "K" ? "k" : (unit[0] ?? " "));
  return Number(number) * (unit.endsWith("i") ? 1024 : 1000) ** power;
}

/** A slider over the usual quantities, beside the text that stays free. */
function addSlider(input) {
  const steps = input.dataset.suggestions.split(" ");
  if (input.disabled || steps.length < 3) return;
  const slider = document.createElement("input");
  slider.type = "range";
  slider.className = "form-range datalab-slider";
  slider.min = "0";
  slider.max = String(steps.length - 1);
  slider.setAttribute("aria-label", document.querySelector(`label[for="${input.id}"]`).textContent);
  const show = () => {
    const wanted = amount(input.value);
    if (Number.isNaN(wanted)) return;
    const distances = steps.map((step) => Math.abs(Math.log(amount(step) / wanted)));
    slider.value = String(distances.indexOf(Math.min(...distances)));
    slider.setAttribute("aria-valuetext", input.value);
  };
  slider.addEventListener("input", () => {
    input.value = steps[Number(slider.value)];
    slider.setAttribute("aria-valuetext", input.value);
  });
  input.addEventListener("input", show);
  input.after(slider);
  show();
}

/** One press launches; coming back by the browser's history makes the button usable again. */
function guardButton(form) {
  const button = form.querySelector("button[data-busy-label]");
  if (!button) return;
  const label = button.textContent;
  const setBusy = (busy) => {
    button.disabled = busy;
    button.textContent = busy ? button.dataset.busyLabel : label;
  };
  form.addEventListener("submit", () => setBusy(true));
  window.addEventListener("pageshow", () => setBusy(false));
}

/** Who writes the name of an image means to use it. */
function linkCustomImage() {
  const name = document.getElementById("option-service-image-custom-version");
  const box = document.getElementById("option-service-image-custom-enabled");
  name?.addEventListener("input", () => {
    if (box) box.checked = name.value.trim() !== "";
  });
}

const form = document.getElementById("spawn_form");
const root = form?.querySelector(".datalab-form");
if (root) {
  const labels = { add: root.dataset.addLabel, remove: root.dataset.removeLabel };
  for (const container of root.querySelectorAll("[data-datalab-rows]")) manageRows(container, labels);
  for (const input of root.querySelectorAll("input[data-suggestions]")) addSlider(input);
  linkCustomImage();
}
if (form) guardButton(form);
document.getElementById("form-problems")?.focus();
