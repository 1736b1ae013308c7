// flagd's in-process provider for servers: prints the outcomes, and then each change.
const { OpenFeature, ProviderEvents } = require("@openfeature/server-sdk");
const { FlagdProvider } = require("@openfeature/flagd-provider");

const { port, questions, contexts } = JSON.parse(process.argv[2]);
const METHODS = { boolean: "Boolean", string: "String", number: "Number", object: "Object" };

async function evaluate(client, key, fallback, context) {
  const method = `get${METHODS[typeof fallback]}Details`;
  const { value, variant = null, reason, errorCode } = await client[method](key, fallback, context);
  return errorCode ? { errorCode } : { value, variant, reason };
}

async function main() {
  const provider = new FlagdProvider({
    host: "127.0.0.1",
    port,
    resolverType: "in-process",
    selector: "flagSetId=local",
    deadlineMs: 60000,
  });
  await OpenFeature.setProviderAndWait(provider);
  const client = OpenFeature.getClient();
  client.addHandler(ProviderEvents.ConfigurationChanged, async ({ flagsChanged }) => {
    const value = await client.getBooleanValue("static", true, {});
    console.log(JSON.stringify({ flagsChanged, value }));
  });
  const outcomes = [];
  for (const context of contexts) {
    for (const [key, fallback] of questions) {
      outcomes.push(await evaluate(client, key, fallback, context));
    }
  }
  console.log(JSON.stringify(outcomes));
}

main();
