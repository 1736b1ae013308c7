// Brings an error into view: htmx shows it on top of the page, far from the button on a phone.

document.addEventListener("htmx:afterSwap", ({detail}) => {
  const {target, requestConfig} = detail;
  // A fault of a refresh in the background must not take the focus from a field.
  if (target.id !== "notices" || !["submit", "click"].includes(requestConfig.triggeringEvent?.type)) return;
  target.focus({preventScroll: true});
  target.scrollIntoView({block: "center"});
});
