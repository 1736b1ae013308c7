// Stores what is typed until it is saved, so that it survives a reload and signing in again.
// Attributes of a form: data-draft="name". A form whose fields the server draws has
// data-draft-url="URL" too: restored fields are posted there, and the answer replaces the form.
// Fields with data-no-draft, such as secrets, are not stored. A form with data-draft-posted shows
// what was posted, after a refusal: then nothing is restored.

const PREFIX = "draft:";
const forms = [...document.querySelectorAll("form[data-draft]")];
const initial = new Map();
let isSending = false;

const keyOf = form => `${PREFIX}${location.pathname}:${form.dataset.draft}`;

function read(form) {
  const omitted = [...form.elements].filter(field => field.matches("[type=password], [data-no-draft]"));
  const names = new Set(omitted.map(field => field.name));
  return [...new FormData(form)].filter(([name, value]) => !names.has(name) && typeof value === "string");
}

const isChanged = form => form.isConnected && JSON.stringify(read(form)) !== initial.get(form.dataset.draft);

function store(form, isSent = false) {
  if (!isChanged(form)) return sessionStorage.removeItem(keyOf(form));
  try {
    sessionStorage.setItem(keyOf(form), JSON.stringify({fields: read(form), isSent}));
  } catch {
    // The storage of the tab is full: the draft is then only on the page.
  }
}

function fill(form, fields) {
  const values = Map.groupBy(fields, ([name]) => name);
  for (const field of form.elements) {
    if (!field.name || field.matches("[type=file], [type=password], button, [data-no-draft]")) continue;
    const stored = values.get(field.name) ?? [];
    if (field.matches("[type=checkbox], [type=radio]"))
      field.checked = stored.some(([, value]) => value === field.value);
    else if (stored.length) field.value = stored.shift()[1];
  }
}

async function restore(form, fields) {
  const url = form.dataset.draftUrl;
  if (!url) return fill(form, fields);
  const values = {};
  for (const [name, value] of fields) (values[name] ??= []).push(value);
  await htmx.ajax("POST", url, {target: form, swap: "outerHTML", values});
}

async function start(form) {
  if ("draftPosted" in form.dataset) return initial.set(form.dataset.draft, "");
  initial.set(form.dataset.draft, JSON.stringify(read(form)));
  const stored = JSON.parse(sessionStorage.getItem(keyOf(form)) ?? "null");
  if (!stored) return;
  await restore(form, stored.fields);
  document.getElementById("draft").hidden = false;
}

// A page after a save says so in its URL: then the forms that were sent have arrived.
if (new URLSearchParams(location.search).has("saved"))
  for (const key of Object.keys(sessionStorage))
    if (key.startsWith(PREFIX) && JSON.parse(sessionStorage[key]).isSent) sessionStorage.removeItem(key);

const current = () => [...document.querySelectorAll("form[data-draft]")];
for (const type of ["input", "change", "htmx:afterSettle"])
  document.addEventListener(type, event => {
    const form = event.target.closest?.("form[data-draft]");
    if (form && !isSending) store(form);
  });
document.addEventListener("submit", event => {
  if (event.defaultPrevented || !event.target.matches("[data-draft]")) return;
  store(event.target, true);
  isSending = true;
});
// The server leads to another page when it has stored or discarded the draft.
document.addEventListener("htmx:beforeOnLoad", event => {
  const form = event.target.closest?.("form[data-draft]");
  if (!form || !event.detail.xhr.getResponseHeader("HX-Redirect")) return;
  sessionStorage.removeItem(keyOf(form));
  isSending = true;
});
document.getElementById("draft")?.addEventListener("click", event => {
  if (!event.target.closest("[data-discard]")) return;
  for (const form of current()) sessionStorage.removeItem(keyOf(form));
  isSending = true;
  location.reload();
});
addEventListener("beforeunload", event => {
  if (!isSending && current().some(isChanged)) event.preventDefault();
});
for (const form of forms) start(form);
