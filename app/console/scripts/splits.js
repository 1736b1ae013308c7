// Keeps the parts of a split at 100 % while a person types or drags, which HTML cannot do.
// Attributes: data-split on the group, with an SVG bar; data-percent on the field of each part.

const DECIMALS = 3;
const fields = split => [...split.querySelectorAll("[data-percent]")];
const number = field => Math.min(100, Math.max(0, Number(field.value.replace(",", ".")) || 0));
const write = (field, value) => { field.value = String(Number(value.toFixed(DECIMALS))); };

function draw(split) {
  let x = 0;
  const rects = [...split.querySelectorAll(".bar rect")];
  fields(split).forEach((field, position) => {
    rects[position]?.setAttribute("x", x);
    rects[position]?.setAttribute("width", number(field));
    x += number(field);
  });
}

// Takes the difference from the parts after this one, then from those before it.
function balance(split, changed) {
  const all = fields(split);
  const position = all.indexOf(changed);
  let rest = 100 - all.reduce((sum, field) => sum + number(field), 0);
  for (const field of [...all.slice(position + 1), ...all.slice(0, position).reverse()]) {
    const value = Math.min(100, Math.max(0, number(field) + rest));
    rest -= value - number(field);
    write(field, value);
  }
  draw(split);
}

document.addEventListener("input", event => {
  const split = event.target.matches("[data-percent]") && event.target.closest("[data-split]");
  if (split) balance(split, event.target);
});

// A drag moves the border between two parts, in whole percents.
let drag;
document.addEventListener("pointerdown", event => {
  const bar = event.target.closest("[data-split] .bar");
  if (!bar || event.button) return;
  const split = bar.closest("[data-split]");
  const box = bar.getBoundingClientRect();
  const at = 100 * (event.clientX - box.left) / box.width;
  const all = fields(split);
  const borders = all.slice(0, -1).map((_, n) => all.slice(0, n + 1).reduce((sum, f) => sum + number(f), 0));
  if (!borders.length) return;
  const near = borders.reduce((best, x, n) => (Math.abs(x - at) < Math.abs(borders[best] - at) ? n : best), 0);
  drag = {split, box, left: all[near], right: all[near + 1], start: borders[near] - number(all[near])};
  bar.setPointerCapture(event.pointerId);
  event.preventDefault();
});
document.addEventListener("pointermove", event => {
  if (!drag) return;
  const total = number(drag.left) + number(drag.right);
  const at = Math.round(100 * (event.clientX - drag.box.left) / drag.box.width - drag.start);
  const share = Math.min(total, Math.max(0, at));
  write(drag.left, share);
  write(drag.right, total - share);
  draw(drag.split);
});
for (const type of ["pointerup", "pointercancel"])
  document.addEventListener(type, () => {
    const field = drag?.left;
    drag = undefined;
    field?.dispatchEvent(new Event("input", {bubbles: true}));
  });

// The server marks the field that a button added; idiomorph does not move the focus.
document.addEventListener("htmx:afterSettle", () => {
  const field = document.querySelector("[data-focus]");
  field?.removeAttribute("data-focus");
  field?.focus();
});
