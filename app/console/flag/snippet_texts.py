"""The programs of the tab Use it, by language, with placeholders such as `__KEY__`.

docs/sdks.md shows the same programs and runs those that this machine can run; a test compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SnippetLanguage:
    """`methods` and `types` are by the type of the flag, `types` only where a program names it."""

    name: str
    install: str
    program: str
    methods: Mapping[str, str]
    types: Mapping[str, str] = field(default_factory=dict)
    true: str = "true"
    false: str = "false"
    empty_object: str = "{}"
    note: str = ""


_INSTALL_JAVA = """
<dependency>
  <groupId>dev.openfeature</groupId>
  <artifactId>sdk</artifactId>
  <version>1.20.2</version>
</dependency>
<dependency>
  <groupId>dev.openfeature.contrib.providers</groupId>
  <artifactId>ofrep</artifactId>
  <version>0.0.2</version>
</dependency>
"""
_JAVASCRIPT = {
    "boolean": "getBooleanValue",
    "string": "getStringValue",
    "integer": "getNumberValue",
    "number": "getNumberValue",
    "object": "getObjectValue",
}
LANGUAGES = (
    SnippetLanguage(
        name="Python",
        install="pip install openfeature-provider-ofrep",
        true="True",
        false="False",
        methods={
            "boolean": "get_boolean_value",
            "string": "get_string_value",
            "integer": "get_integer_value",
            "number": "get_float_value",
            "object": "get_object_value",
        },
        program="""
import os

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

headers = {"Authorization": f"Bearer {os.environ['FLAGSTONE_TOKEN']}"}
api.set_provider(
    OFREPProvider("__URL__", headers_factory=lambda: headers, timeout=1.0)
)

user = EvaluationContext("user-1", __ATTRIBUTES__)
print(api.get_client().__METHOD__("__KEY__", __DEFAULT__, user))
""",
    ),
    SnippetLanguage(
        name="JavaScript on a server",
        install="npm install @openfeature/server-sdk @openfeature/ofrep-provider",
        methods=_JAVASCRIPT,
        program="""
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

const provider = new OFREPProvider({
  baseUrl: "__URL__",
  headers: [["Authorization", `Bearer ${process.env.FLAGSTONE_TOKEN}`]],
  fetchImplementation: (request, options) =>
    fetch(request, { ...options, signal: AbortSignal.timeout(1000) }),
});
await OpenFeature.setProviderAndWait(provider);

const user = __CONTEXT__;
console.log(await OpenFeature.getClient().__METHOD__("__KEY__", __DEFAULT__, user));
""",
    ),
    SnippetLanguage(
        name="JavaScript in a web page",
        install="npm install @openfeature/web-sdk @openfeature/ofrep-web-provider",
        methods=_JAVASCRIPT,
        program="""
import { OpenFeature } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

const headers = [["Authorization", `Bearer ${process.env.FLAGSTONE_TOKEN}`]];
await OpenFeature.setContext(__CONTEXT__);
await OpenFeature.setProviderAndWait(
  new OFREPWebProvider({ baseUrl: "__URL__", headers }),
);

console.log(OpenFeature.getClient().__METHOD__("__KEY__", __DEFAULT__));
await OpenFeature.close();
""",
        note="In a page, write the token in place of process.env.FLAGSTONE_TOKEN. Visitors can "
        "read it, so it must have only the scope evaluate. Set CORS_ORIGINS to the origins of "
        "your pages.",
    ),
    SnippetLanguage(
        name="React",
        install="npm install @openfeature/react-sdk @openfeature/web-sdk "
        "@openfeature/ofrep-web-provider",
        methods={},
        program="""
import { OpenFeatureProvider, useFlag } from "@openfeature/react-sdk";

function Value() {
  const { value } = useFlag("__KEY__", __DEFAULT__);
  return <code>{JSON.stringify(value)}</code>;
}

export const App = () => (
  <OpenFeatureProvider>
    <Value />
  </OpenFeatureProvider>
);
""",
        note="Set the provider as in a web page, but import OpenFeature from "
        "@openfeature/react-sdk.",
    ),
    SnippetLanguage(
        name="Java",
        install=_INSTALL_JAVA,
        methods={
            "boolean": "getBooleanValue",
            "string": "getStringValue",
            "integer": "getIntegerValue",
            "number": "getDoubleValue",
            "object": "getObjectValue",
        },
        types={
            "boolean": "boolean",
            "string": "String",
            "integer": "int",
            "number": "double",
            "object": "Value",
        },
        empty_object="new Value(new MutableStructure())",
        program="""
var headers = ImmutableMap.of(
    "Authorization", ImmutableList.of("Bearer " + System.getenv("FLAGSTONE_TOKEN")));
var options = OfrepProviderOptions.builder()
    .baseUrl("__URL__")
    .headers(headers)
    .build();
var api = OpenFeatureAPI.getInstance();
api.setProviderAndWait(OfrepProvider.constructProvider(options));

var user = new ImmutableContext("user-1", Map.of(__JAVA_ATTRIBUTES__));
__TYPE__ value = api.getClient().__METHOD__("__KEY__", __DEFAULT__, user);
""",
        note="ImmutableMap and ImmutableList are from Guava, which the provider brings.",
    ),
    SnippetLanguage(
        name="Go",
        install="go get github.com/open-feature/go-sdk "
        "github.com/open-feature/go-sdk-contrib/providers/ofrep",
        methods={
            "boolean": "BooleanValue",
            "string": "StringValue",
            "integer": "IntValue",
            "number": "FloatValue",
            "object": "ObjectValue",
        },
        empty_object="map[string]any{}",
        program="""
provider := ofrep.NewProvider("__URL__",
    ofrep.WithBearerToken(os.Getenv("FLAGSTONE_TOKEN")), ofrep.WithTimeout(time.Second))
if err := openfeature.SetProviderAndWait(provider); err != nil {
    log.Fatal(err)
}

user := openfeature.NewEvaluationContext("user-1", map[string]any__ATTRIBUTES__)
value, _ := openfeature.NewClient("shop").__METHOD__(ctx, "__KEY__", __DEFAULT__, user)
""",
    ),
    SnippetLanguage(
        name=".NET",
        install="dotnet add package OpenFeature.Providers.Ofrep",
        methods={
            "boolean": "GetBooleanValueAsync",
            "string": "GetStringValueAsync",
            "integer": "GetIntegerValueAsync",
            "number": "GetDoubleValueAsync",
            "object": "GetObjectValueAsync",
        },
        empty_object="new Value(Structure.Empty)",
        program="""
var token = Environment.GetEnvironmentVariable("FLAGSTONE_TOKEN");
var options = new OfrepOptions("__URL__")
{
    Timeout = TimeSpan.FromSeconds(1),
    Headers = new() { ["Authorization"] = $"Bearer {token}" },
};
await Api.Instance.SetProviderAsync(new OfrepProvider(options));

var user = EvaluationContext.Builder()
    .SetTargetingKey("user-1")__NET_ATTRIBUTES__.Build();
var value = await Api.Instance.GetClient().__METHOD__("__KEY__", __DEFAULT__, user);
""",
        note="The provider drops a path from the URL, so it needs a token for one environment.",
    ),
    SnippetLanguage(
        name="curl",
        install="",
        methods={},
        program="""
curl "__URL__/ofrep/v1/evaluate/flags/__KEY__" \\
  --header "Authorization: Bearer $FLAGSTONE_TOKEN" \\
  --json '{"context": __JSON_CONTEXT__}'
""",
    ),
)
