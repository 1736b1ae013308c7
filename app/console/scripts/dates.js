// Date fields in the reader's time zone, sent in UTC. The name sorts before drafts.js, which reads them.

function local(text) {
  const moment = new Date(text);
  if (isNaN(moment)) return "";
  return new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace(/:00$/, "");
}

function show(part) {
  for (const field of part.querySelectorAll("input[data-utc]"))
    if (field.dataset.utc) field.value = local(field.dataset.utc);
  for (const hint of part.querySelectorAll("[data-zone]")) hint.textContent = "Times in your time zone.";
}

show(document);
document.addEventListener("htmx:afterSettle", event => show(event.target));
document.addEventListener("formdata", event => {
  for (const field of event.target.querySelectorAll("input[data-utc]"))
    if (field.value) event.formData.set(field.name, new Date(field.value).toISOString().slice(0, 19) + "Z");
});
