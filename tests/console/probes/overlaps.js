// Two controls that cover each other cannot both be used.
() => {
  const controls = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
    .filter(element => element.checkVisibility({visibilityProperty: true, opacityProperty: true}))
    .map(element => [element, element.getBoundingClientRect()])
    .filter(([element, box]) => box.width > 1 && box.height > 1);
  const found = [];
  controls.forEach(([a, one], index) => {
    for (const [b, two] of controls.slice(index + 1)) {
      if (a.contains(b) || b.contains(a)) continue;
      const across = Math.min(one.right, two.right) - Math.max(one.left, two.left);
      const down = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
      const isLayered = [a, b].some(element => element.closest("[data-floating], dialog, header"));
      if (across > 2 && down > 2 && !isLayered)
        found.push(`${a.outerHTML.slice(0, 100)} and ${b.outerHTML.slice(0, 100)}`);
    }
  });
  return found.slice(0, 5);
}
