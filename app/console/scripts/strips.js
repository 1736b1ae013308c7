// Scrolls the selected item of each strip of links into view, which HTML cannot do.

for (const current of document.querySelectorAll(":is(.nav, .tabs, .environments) [aria-current]")) {
  const strip = current.closest(".nav, .tabs, .environments");
  const [item, frame] = [current.getBoundingClientRect(), strip.getBoundingClientRect()];
  strip.scrollLeft += item.left + item.width / 2 - frame.left - frame.width / 2;
}
