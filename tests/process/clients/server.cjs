// Asks every question with the stock server SDK, and prints the details of each as a line of JSON.

const { OFREPProvider } = require("@openfeature/ofrep-provider");
const { OpenFeature } = require("@openfeature/server-sdk");

async function main({ baseUrl, headers, questions }) {
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
  const client = OpenFeature.getClient();
  for (const { type, key, fallback, context } of questions) {
    const details = await client[`get${type}Details`](key, fallback, context);
    console.log(JSON.stringify(details));
  }
}

main(JSON.parse(process.argv[2]));
