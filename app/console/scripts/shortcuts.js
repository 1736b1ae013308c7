// Follows keys to links and buttons, and opens dialogs, which HTML cannot do by itself.
// Attributes: data-shortcut="g f", "n", "/", "mod+k" on a link, button or field. A click on
// data-dialog="id" opens this dialog, and data-close in it closes it.

let first = "";
let timer;

function name(event) {
  const key = event.key.toLowerCase();
  return event.ctrlKey || event.metaKey ? `mod+${key}` : key;
}

function find(keys) {
  const dialog = document.querySelector("dialog[open]");
  return [...(dialog ?? document).querySelectorAll("[data-shortcut]")].find(
    element => element.dataset.shortcut === keys && !element.disabled,
  );
}

document.addEventListener("keydown", event => {
  if (event.altKey || event.isComposing) return;
  const keys = name(event);
  const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
  if (isTyping && !keys.startsWith("mod+")) return;
  const element = find(`${first} ${keys}`.trim()) ?? find(keys);
  clearTimeout(timer);
  first = element ? "" : keys;
  timer = setTimeout(() => { first = ""; }, 1000);
  if (!element) return;
  event.preventDefault();
  if (element.matches("input, textarea, select")) element.focus();
  else element.click();
});

document.addEventListener("click", event => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog).showModal();
  if (event.target.closest("[data-close]") || event.target.matches("dialog[open]"))
    event.target.closest("dialog").close();
  // A menu closes at a click elsewhere.
  for (const menu of document.querySelectorAll("details.menu[open]"))
    if (!menu.contains(event.target)) menu.open = false;
});
