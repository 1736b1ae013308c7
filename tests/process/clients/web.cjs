// A page with the stock web SDK. It prints a line of JSON for everything that happens to it, with the
// value of one flag, and takes each line of its input for the new context.

const { createInterface } = require("node:readline");
const { OFREPWebProvider } = require("@openfeature/ofrep-web-provider");
const { OpenFeature, ProviderEvents } = require("@openfeature/web-sdk");
const { EventSource } = require("eventsource");

globalThis.EventSource = EventSource;

async function main({ baseUrl, headers, flag, context }) {
  const client = OpenFeature.getClient();

  function say(event, more) {
    const { value, reason, errorCode } = client.getStringDetails(flag, "default");
    console.log(JSON.stringify({ event, value, reason, errorCode, at: Date.now() / 1000, ...more }));
  }

  async function fetchImplementation(request, options) {
    const answer = await fetch(request, options);
    say("fetched", { status: answer.status, known: request.headers.get("If-None-Match") });
    return answer;
  }

  for (const event of ["ConfigurationChanged", "Stale", "Error", "Ready", "ContextChanged"]) {
    client.addHandler(ProviderEvents[event], () => say(event));
  }
  createInterface({ input: process.stdin })
    .on("line", (line) => OpenFeature.setContext(JSON.parse(line)))
    .on("close", () => process.exit());
  await OpenFeature.setContext(context);
  // As pairs, since a map of headers is documented and not taken.
  const pairs = Object.entries(headers);
  const provider = new OFREPWebProvider({ baseUrl, headers: pairs, fetchImplementation });
  await OpenFeature.setProviderAndWait(provider).catch(() => say("refused"));
}

main(JSON.parse(process.argv[2]));
