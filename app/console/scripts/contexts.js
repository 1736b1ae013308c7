// Stores the contexts of the preview in this browser, since only a script can write its storage.
// A form with data-stored="NAME" gets its stored fields before htmx sends it for the first time.

const form = document.querySelector("form[data-stored]");
const name = `contexts:${form?.dataset.stored}`;

for (const [field, value] of JSON.parse((form && localStorage.getItem(name)) ?? "[]")) {
  const input = document.createElement("input");
  Object.assign(input, {type: "hidden", name: field, value});
  form.append(input);
}

function store() {
  try {
    localStorage.setItem(name, JSON.stringify([...new FormData(form)]));
  } catch {
    // The storage is full: the contexts are then only on the page.
  }
}

// A filled row for another attribute gets an empty one below it.
form?.addEventListener("input", event => {
  const row = event.target.closest("div.context-row");
  const fields = row ? [...row.querySelectorAll("input")] : [];
  if (!row || fields.some(field => !field.value) || row.nextElementSibling?.matches(".context-row")) return;
  const empty = row.cloneNode(true);
  for (const field of empty.querySelectorAll("input")) field.value = "";
  row.after(empty);
});

for (const type of ["input", "htmx:afterSettle"]) form?.addEventListener(type, store);
