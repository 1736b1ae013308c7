// Moves the selection of the palette by keys while the search field has the focus.
// The server ranks the results, so that 5,000 keys never travel to the browser.

const palette = document.getElementById("palette");
const field = palette?.querySelector("input");
const results = palette?.querySelector("[role=listbox]");

function options() {
  return [...results.querySelectorAll("[role=option]")];
}

function select(option) {
  for (const other of options()) other.setAttribute("aria-selected", other === option);
  option?.scrollIntoView({block: "nearest"});
  if (option) field.setAttribute("aria-activedescendant", option.id);
  else field.removeAttribute("aria-activedescendant");
}

palette?.addEventListener("htmx:afterSwap", () => select(options()[0]));

field?.addEventListener("keydown", event => {
  const all = options();
  const position = all.findIndex(option => option.getAttribute("aria-selected") === "true");
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (step) select(all[(position + step + all.length) % all.length]);
  else if (event.key === "Enter") all[position]?.click();
  else return;
  event.preventDefault();
});

palette?.addEventListener("toggle", () => {
  if (!palette.open) return;
  field.select();
  htmx.trigger(field, "open");
});
