// Hold flags as a page does, and print a line of JSON when they have come and whenever they change.
import { EventSource } from "eventsource";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

globalThis.EventSource = EventSource;
const [baseUrl, token, context] = process.argv.slice(2);
await OpenFeature.setContext(JSON.parse(context));
const client = OpenFeature.getClient();
const print = (event) =>
  console.log(JSON.stringify({ event, at: Date.now() / 1000, new: client.getBooleanDetails("new", false) }));
await OpenFeature.setProviderAndWait(
  new OFREPWebProvider({ baseUrl, changeDetection: "sse", headers: [["X-API-Key", token]] }),
);
print("ready");
client.addHandler(ProviderEvents.ConfigurationChanged, () => print("changed"));
process.stdin.on("end", () => process.exit()).resume();
