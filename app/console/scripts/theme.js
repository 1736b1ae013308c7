// Switches the colours at once. The server reads the cookie, so that no page loads in the others.
// Attributes: data-theme-choice="light", "dark" or "system" on a button.

const root = document.documentElement;
const cookiePath = `${document.body.dataset.root}/console`;

function mark() {
  for (const button of document.querySelectorAll("[data-theme-choice]"))
    button.setAttribute("aria-pressed", button.dataset.themeChoice === root.dataset.theme);
}

document.addEventListener("click", event => {
  const choice = event.target.closest("[data-theme-choice]")?.dataset.themeChoice;
  if (!choice) return;
  root.dataset.theme = choice;
  document.cookie = `flagstone-theme=${choice}; path=${cookiePath}; max-age=31536000; samesite=lax`;
  mark();
});
mark();
