// Shows times relative to now, with the exact time on hover: the server does not know the zone.
// Each <time datetime> of the page, also in fragments that arrive later.

const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30]];
const relative = new Intl.RelativeTimeFormat("en", {numeric: "auto"});
const date = new Intl.DateTimeFormat("en-GB", {dateStyle: "medium"});
const short = new Intl.DateTimeFormat("en-GB", {dateStyle: "medium", timeStyle: "short"});
const exact = new Intl.DateTimeFormat("en-GB", {dateStyle: "full", timeStyle: "long"});

function words(moment) {
  let amount = (moment - Date.now()) / 1000;
  if (Math.abs(amount) < 2) return "now";
  for (const [unit, size] of STEPS) {
    if (Math.abs(Math.round(amount)) < size) return relative.format(Math.round(amount), unit);
    amount /= size;
  }
  return date.format(moment);
}

function show() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (isNaN(moment)) continue;
    const text = "exact" in element.dataset ? (element.dataset.exact ? short : exact).format(moment) : words(moment);
    if (element.textContent !== text) element.textContent = text;
    element.title = exact.format(moment);
  }
}

show();
setInterval(show, 10_000);
document.addEventListener("htmx:afterSettle", show);
document.addEventListener("times:show", show);
