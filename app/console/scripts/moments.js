// Date fields in the reader's time zone, which the server does not know. They are sent in UTC.

const fields = () => document.querySelectorAll("input[data-utc]");

function local(text) {
  const moment = new Date(text);
  if (isNaN(moment)) return "";
  return new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

for (const field of fields()) {
  if (field.dataset.utc) field.value = local(field.dataset.utc);
}
for (const hint of document.querySelectorAll("[data-zone]")) hint.textContent = "Times in your time zone.";

document.addEventListener("formdata", event => {
  for (const field of fields()) {
    if (field.form === event.target && field.value) {
      event.formData.set(field.name, new Date(field.value).toISOString().slice(0, 19) + "Z");
    }
  }
});
