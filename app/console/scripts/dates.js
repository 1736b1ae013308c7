// Date fields in the reader's time zone, which the server does not know. They are sent in UTC.
// Its name sorts before drafts.js, which reads the fields.

function local(text) {
  const moment = new Date(text);
  if (isNaN(moment)) return "";
  const shown = new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString();
  return shown.slice(0, shown.slice(17, 19) === "00" ? 16 : 19);
}

function show(part) {
  for (const field of part.querySelectorAll("input[data-utc]"))
    if (field.dataset.utc) field.value = local(field.dataset.utc);
  for (const hint of part.querySelectorAll("[data-zone]")) hint.textContent = "Times in your time zone.";
}

show(document);
document.addEventListener("htmx:afterSettle", event => show(event.target));
document.addEventListener("formdata", event => {
  for (const field of event.target.querySelectorAll("input[data-utc]")) {
    if (field.value) {
      event.formData.set(field.name, new Date(field.value).toISOString().slice(0, 19) + "Z");
    }
  }
});
