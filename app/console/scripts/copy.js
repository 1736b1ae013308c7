// Copies a text to the clipboard, which HTML cannot do.
// Attributes of a button: data-copy="the text", or data-copy-from="#id" of an element or field.

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without TLS a browser has no clipboard for pages of other hosts than localhost.
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copyFrom || "#none");
  await copy(button.dataset.copy ?? source?.value ?? source?.textContent ?? "");
  document.getElementById("status").textContent = "Copied.";
  button.dataset.copied = "";
  setTimeout(() => delete button.dataset.copied, 2000);
});
