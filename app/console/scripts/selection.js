// Selects all rows of a table, or a range with Shift, and counts them, which HTML cannot do.
// In a form: data-select-all on the checkbox of all rows, data-selected on the text of the count.

let last;

function rows(form) {
  return [...form.querySelectorAll("tbody input[type=checkbox]")];
}

function show(form) {
  const boxes = rows(form), count = boxes.filter(box => box.checked).length;
  const all = form.querySelector("[data-select-all]"), text = form.querySelector("[data-selected]");
  if (all) {
    all.hidden = false;
    all.checked = count > 0 && count === boxes.length;
    all.indeterminate = count > 0 && count < boxes.length;
  }
  if (text) text.textContent = `${count} selected`;
}

function showAll() {
  for (const all of document.querySelectorAll("[data-select-all]")) show(all.form);
}

document.addEventListener("click", event => {
  const box = event.target.closest("input[type=checkbox]");
  if (!box?.form?.querySelector("[data-select-all]")) return;
  const boxes = rows(box.form);
  if (box.matches("[data-select-all]")) for (const other of boxes) other.checked = box.checked;
  if (event.shiftKey && boxes.includes(last) && boxes.includes(box)) {
    const ends = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
    for (const other of boxes.slice(ends[0], ends[1] + 1)) other.checked = box.checked;
  }
  last = box;
  show(box.form);
});
document.addEventListener("htmx:afterSettle", showAll);
showAll();
