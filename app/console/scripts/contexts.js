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

for (const type of ["input", "htmx:afterSettle"]) form?.addEventListener(type, store);
