// Lets people drag items of a list into another order, and move them by Alt and an arrow key.
// Attributes: data-order on the list, data-handle on a button in each item. The list gets the
// event "reorder" after each move; the order of the fields in the form is the new order.

let dragged;

function moved(item) {
  item.parentElement.dispatchEvent(new CustomEvent("reorder", {bubbles: true}));
  item.closest("form")?.dispatchEvent(new Event("change", {bubbles: true}));
}

document.addEventListener("pointerdown", event => {
  const handle = event.target.closest("[data-order] [data-handle]");
  if (!handle || event.button) return;
  event.preventDefault();
  handle.focus();
  handle.setPointerCapture(event.pointerId);
  const list = handle.closest("[data-order]");
  const item = [...list.children].find(child => child.contains(handle));
  dragged = {list, item, before: item.nextElementSibling};
  item.dataset.dragged = "";
});

document.addEventListener("pointermove", event => {
  if (!dragged) return;
  const {list, item} = dragged;
  const next = [...list.children].find(child => {
    const box = child.getBoundingClientRect();
    return child !== item && event.clientY < box.top + box.height / 2;
  });
  if (next !== item.nextElementSibling) list.insertBefore(item, next ?? null);
});

for (const type of ["pointerup", "pointercancel"])
  document.addEventListener(type, () => {
    if (!dragged) return;
    const {item, before} = dragged;
    dragged = undefined;
    delete item.dataset.dragged;
    if (item.nextElementSibling !== before) moved(item);
  });

document.addEventListener("keydown", event => {
  const handle = event.target.closest("[data-order] [data-handle]");
  if (!handle || !event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
  event.preventDefault();
  const list = handle.closest("[data-order]");
  const item = [...list.children].find(child => child.contains(handle));
  const isUp = event.key === "ArrowUp";
  const neighbour = isUp ? item.previousElementSibling : item.nextElementSibling;
  if (!neighbour) return;
  list.insertBefore(item, isUp ? neighbour : neighbour.nextElementSibling);
  handle.focus();
  moved(item);
});
