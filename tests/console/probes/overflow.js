// Elements that stick out of the page, and fields in which one cannot read a word.
() => {
  const narrowest = 60;
  const width = document.documentElement.clientWidth;
  const found = [];
  if (document.documentElement.scrollWidth > width)
    found.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height || box.right <= width + 1) continue;
    let parent = element.parentElement;
    while (parent && getComputedStyle(parent).overflowX === "visible") parent = parent.parentElement;
    if (!parent || parent === document.body || parent === document.documentElement)
      found.push(`${element.outerHTML.slice(0, 120)} ends at ${Math.round(box.right)} px`);
  }
  for (const field of document.querySelectorAll("textarea, select, input:not([type=checkbox], [type=radio], [type=hidden])")) {
    const {width} = field.getBoundingClientRect();
    if (field.checkVisibility() && width > 1 && width < narrowest) found.push(`${field.outerHTML.slice(0, 120)} is ${Math.round(width)} px wide`);
  }
  return found.slice(0, 5);
}
