// Form fields: a label, an input, and the place where what is wrong with it is said.

import { el } from "./elements.js";

const field = (name, label, ...content) => el("div", { class: "field", "data-field": name }, label, content, wrong(name));
const wrong = (name) => el("small", { class: "wrong", id: `wrong-${name}` });
const label = (name, text) => el("label", { for: `field-${name}` }, text);

// A field for digits: a text field, because a number field changes what is in it when somebody scrolls over it.
export function entry(name, title, { value = "", mode = "text", hint, list } = {}) {
  return field(name, label(name, title), el("input", {
    id: `field-${name}`, name, value, inputmode: mode, autocomplete: "off", spellcheck: "false",
    autocapitalize: mode === "text" && "characters", placeholder: hint, list, maxlength: "64", "aria-describedby": `wrong-${name}`,
  }));
}

export function choice(name, title, options, chosen) {
  return field(name, label(name, title), el("select", { id: `field-${name}`, name, "aria-describedby": `wrong-${name}` },
    Object.entries(options).map(([value, text]) => el("option", { value, selected: value === chosen }, text))));
}

// A few options side by side, one of them chosen: radio buttons that look like one switch.
export function options(name, title, choices, chosen) {
  return el("fieldset", { class: `field switch ${name}`, "data-field": name, "aria-describedby": `wrong-${name}` },
    el("legend", {}, title),
    el("div", { class: "row" }, Object.entries(choices).map(([value, text]) => el("label", { class: value.toLowerCase() },
      el("input", { type: "radio", name, value, checked: value === chosen }), el("span", {}, text)))),
    wrong(name));
}

// Show a field or hide it; what is hidden is not sent either.
export function toggle(form, name, isShown) {
  form.querySelector(`[data-field="${name}"]`).hidden = !isShown;
}

// What stands in a field, null for one that is hidden, absent or empty.
export function valueOf(form, name) {
  if (form.querySelector(`[data-field="${name}"]`)?.hidden) return null;
  return new FormData(form).get(name)?.trim() || null;
}

// A quantity as JSON wants it: a whole number, and what is no number as it was typed, for the service to refuse.
export const unitsOf = (text) => (text && /^[0-9]{1,15}$/.test(text) ? Number(text) : text);

// Fields that can't do without an answer, as errors of the form that the service uses.
export function missing(form, names) {
  const empty = names.filter((name) => !form.querySelector(`[data-field="${name}"]`).hidden && !valueOf(form, name));
  return empty.map((name) => ({ pointer: `/${name}`, detail: "is needed" }));
}

// Say at each field what is wrong with it, and go to the first; gives back what belongs to no field that is shown.
export function showErrors(form, errors) {
  form.querySelector(".problem")?.remove();
  for (const place of form.querySelectorAll(".wrong")) place.textContent = "";
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  const homeless = errors.filter(({ pointer, detail }) => {
    const place = form.querySelector(`[data-field="${CSS.escape(pointer.slice(1))}"]:not([hidden])`);
    if (!place) return true;
    place.querySelector(".wrong").textContent = detail;
    for (const input of place.querySelectorAll("input, select")) input.setAttribute("aria-invalid", "true");
    return false;
  });
  form.querySelector("[aria-invalid]")?.focus();
  return homeless;
}
