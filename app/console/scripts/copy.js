// Copies a text to the clipboard, which HTML cannot do.
// Attributes of a button: data-copy="the text", or data-copy-from="#id" of an element or field.

// Returns whether the browser has copied the text.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS a browser has no clipboard for other hosts than localhost. It may also refuse.
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}

document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copyFrom || "#none");
  const copied = await copy(button.dataset.copy ?? source?.value ?? source?.textContent ?? "");
  document.getElementById("status").textContent = copied
    ? "Copied."
    : "The browser did not copy the text. Select it, and copy it by hand.";
  if (!copied) return;
  button.dataset.copied = "";
  setTimeout(() => delete button.dataset.copied, 2000);
});
