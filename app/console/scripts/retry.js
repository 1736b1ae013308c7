// Reloads a page that answered 503 when its address answers again. [data-retry] marks it.

const retry = document.querySelector("[data-retry]");

async function attempt() {
  if (document.hidden) return;
  const options = {method: "HEAD", headers: {"X-Background": "1"}};
  const answer = await fetch(location.href, options).catch(() => ({}));
  if (answer.ok) location.reload();
}

if (retry) setInterval(attempt, 5_000);
