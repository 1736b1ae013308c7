// Evaluate flags as a server does, and print what came out as one line of JSON.
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

const [baseUrl, token, context] = process.argv.slice(2);
await OpenFeature.setProviderAndWait(
  new OFREPProvider({ baseUrl, headers: [["Authorization", `Bearer ${token}`]] }),
);
const client = OpenFeature.getClient();
const seen = JSON.parse(context);
const found = {
  boolean: await client.getBooleanDetails("new", false, seen),
  string: await client.getStringDetails("colour", "none", seen),
  number: await client.getNumberDetails("size", 0, seen),
  object: await client.getObjectDetails("theme", {}, seen),
  disabled: await client.getBooleanDetails("off", true, seen),
  missing: await client.getStringDetails("nowhere", "mine", seen),
  mismatched: await client.getBooleanDetails("colour", true, seen),
};
console.log(JSON.stringify(found));
