// Reloads a page that answered 503 when its address answers again. [data-retry] marks it.

const retry = document.querySelector("[data-retry]");

async function attempt() {
  if (!document.hidden) {
    const headers = {"X-Background": "1"};
    const options = {method: "HEAD", headers, signal: AbortSignal.timeout(20_000)};
    const answer = await fetch(location.href, options).catch(() => ({}));
    if (answer.ok) return location.reload();
  }
  setTimeout(attempt, 5_000);
}

if (retry) setTimeout(attempt, 5_000);
