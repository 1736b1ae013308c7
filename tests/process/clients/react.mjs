// Renders a component with the stock React SDK, and prints its HTML.

import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, OpenFeatureProvider, useFlag } from "@openfeature/react-sdk";

const { baseUrl, headers, flag, context } = JSON.parse(process.argv[2]);

function Greeting() {
  const { value } = useFlag(flag, "default");
  return createElement("p", null, value);
}

await OpenFeature.setContext(context);
const provider = new OFREPWebProvider({ baseUrl, headers: Object.entries(headers) });
await OpenFeature.setProviderAndWait(provider);
console.log(renderToString(createElement(OpenFeatureProvider, null, createElement(Greeting))));
process.exit();
