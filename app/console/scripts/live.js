// Listens to the changes of the environment, and says so above what is read or edited.
// Attributes of body: data-live is the URL of the events; data-key limits them to one key.

const {live, key} = document.body.dataset;
const notice = document.getElementById("live");
// A request that no person made must not extend the session.
const BACKGROUND = {"X-Background": "1"};
let source;
let timer;

function show(change) {
  if (key && !change.keys.includes(key) && !change.is_cut) return;
  notice.querySelector("[data-actor]").textContent = change.actor;
  notice.querySelector("[data-message]").textContent = change.message && `: ${change.message}`;
  notice.querySelector("time").dateTime = change.created_at;
  notice.hidden = false;
  document.dispatchEvent(new Event("times:show"));
  notice.querySelector("[data-words]").replaceChildren();
  // Of several changes in a row, only the last one is put into words.
  clearTimeout(timer);
  timer = setTimeout(showWords, 500, change.revision);
}

function showWords(revision) {
  const words = `${live.split("/live?")[0]}/changes/${revision}/summary`;
  const target = notice.querySelector("[data-words]");
  htmx.ajax("GET", words, {target, swap: "innerHTML", headers: BACKGROUND});
}

function end() {
  source.close();
  document.getElementById("signed-out").hidden = false;
}

async function check() {
  // After a lost connection the browser connects again by itself.
  if (source?.readyState !== EventSource.CLOSED) return;
  const answer = await fetch(location.href, {method: "HEAD", headers: BACKGROUND}).catch(() => ({}));
  if (answer.status === 401) end();
}

function listen() {
  // Browsers open at most six connections to a server: hidden tabs must not hold one.
  if (document.hidden) {
    source?.close();
    source = undefined;
  } else if (live && !source) {
    source = new EventSource(live);
    source.addEventListener("change", event => show(JSON.parse(event.data)));
    source.addEventListener("ended", end);
    source.addEventListener("error", check);
  }
}

notice?.addEventListener("click", event => {
  if (event.target.closest("[data-show]")) location.reload();
});
document.addEventListener("visibilitychange", listen);
addEventListener("pagehide", () => source?.close());
listen();
