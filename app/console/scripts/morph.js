// Keeps what is typed while an answer of the server replaces a form: idiomorph would overwrite it.

Idiomorph.defaults.ignoreActiveValue = true;

// What is typed while the server refuses a save stays too, in fields without the focus.
const sent = new WeakMap();
const fieldsOf = form => [...form.elements].filter(field => field.matches("[name]:is(input:not([type=hidden]), textarea, select)"));
const valueOf = field => field.matches("[type=checkbox], [type=radio]") ? field.checked : field.value;

document.addEventListener("htmx:beforeRequest", event => {
  const form = event.detail.target;
  if (form.matches?.("form[data-draft]")) sent.set(form, new Map(fieldsOf(form).map(field => [field, valueOf(field)])));
});
document.addEventListener("htmx:beforeSwap", event => {
  const form = event.detail.target;
  const values = sent.get(form);
  if (!values || event.detail.xhr.status < 400) return;
  const typed = fieldsOf(form).filter(field => values.has(field) && values.get(field) !== valueOf(field));
  const texts = typed.map(field => [field.name, field.type, valueOf(field), field.value]);
  document.addEventListener("htmx:afterSwap", () => {
    for (const [name, type, value, text] of texts)
      for (const field of document.getElementsByName(name))
        if (type !== "radio" && type !== "checkbox") field.value = value;
        else if (field.value === text) field.checked = value;
  }, {once: true});
});

// The message beside a field goes when the field is changed; the pending changes are checked again.
document.addEventListener("input", event => {
  const field = event.target;
  if (!field.matches("form[data-draft] [aria-invalid]")) return;
  field.removeAttribute("aria-invalid");
  // idiomorph would replace a field whose id the next answer does not have.
  if (field.id.startsWith("wrong-")) field.removeAttribute("id");
  const part = field.closest(".condition, .variant, .member, .field");
  if (!part?.querySelector("[aria-invalid]")) part?.querySelector(":scope > .field-error")?.remove();
});
