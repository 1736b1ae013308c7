// A certified OpenID Connect provider for tests: node oidc_provider.mjs SETTINGS
//
// SETTINGS is JSON: port, client (its registration), and accounts with their claims by login name.
// The form accepts each of these names without a password. POST /control changes the provider:
//   {"account": NAME, "claims": {…}}  replace the claims of an account
//   {"rotate": true}                  sign with a new key, and publish that key alone
//   {"ended": true}                   end all sessions and grants without a notification

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { json, text } from "node:stream/consumers";
import Provider from "oidc-provider";
import { createMemoryAdapter } from "oidc-provider/lib/adapters/memory_adapter.js";

const { port, client, accounts } = JSON.parse(process.argv[2]);
const issuer = `http://localhost:${port}`;
const SCOPES = "openid profile email groups offline_access";
const PAGE = (body) => `<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>Provider</title><link rel="icon" href="data:,"></head><body>${body}</body></html>`;

let adapter = createMemoryAdapter();
let provider = create();
let answer = provider.callback();

function create() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = { ...privateKey.export({ format: "jwk" }), use: "sig", alg: "ES256" };
  const created = new Provider(issuer, {
    adapter: (model) => adapter(model),
    clients: [{
      token_endpoint_auth_method: "client_secret_basic",
      id_token_signed_response_alg: "ES256",
      grant_types: ["authorization_code", "refresh_token"],
      ...client,
    }],
    jwks: { keys: [jwk] },
    cookies: { keys: ["cookies of a test"] },
    claims: {
      openid: ["sub"],
      profile: ["name", "preferred_username"],
      email: ["email", "email_verified"],
      groups: ["groups"],
    },
    // The claims are in the ID token too, not only in the answer of the userinfo endpoint.
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        logoutSource(ctx, form) {
          const name = 'type="submit" form="op.logoutForm" value="yes" name="logout"';
          ctx.body = PAGE(`${form}<button ${name}>Sign out at the provider</button>`);
        },
        postLogoutSuccessSource(ctx) {
          ctx.body = PAGE("<h1>Signed out at the provider</h1>");
        },
      },
    },
    findAccount: (_, accountId) => accounts[accountId] && {
      accountId,
      claims: () => ({ sub: accountId, ...accounts[accountId] }),
    },
    issueRefreshToken: (_, registered) => registered.grantTypeAllowed("refresh_token"),
    rotateRefreshToken: () => true,
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    // The given dispatcher refuses loopback addresses, which the service of a test has.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  });
  created.on("backchannel.error", (_, error) => console.error(error));
  return created;
}

async function interact(request, response) {
  if (request.method === "GET") {
    const { prompt: { name } } = await provider.interactionDetails(request, response);
    const field = name === "login" ? '<label>Login <input name="login" autofocus></label>' : "";
    response.setHeader("Content-Type", "text/html");
    response.end(PAGE(`<form method="post">${field}<button>Continue</button></form>`));
    return;
  }
  const details = await provider.interactionDetails(request, response);
  const login = new URLSearchParams(await text(request)).get("login");
  const accountId = login ?? details.session.accountId;
  if (!(accountId in accounts)) {
    const result = { error: "access_denied", error_description: "no such account" };
    await provider.interactionFinished(request, response, result);
    return;
  }
  const grant = new provider.Grant({ accountId, clientId: details.params.client_id });
  grant.addOIDCScope(SCOPES);
  const result = { login: { accountId }, consent: { grantId: await grant.save() } };
  await provider.interactionFinished(request, response, result);
}

async function control(request, response) {
  const { account, claims, rotate, ended } = await json(request);
  if (account !== undefined) accounts[account] = claims;
  if (ended) adapter = createMemoryAdapter();
  if (rotate || ended) {
    provider = create();
    answer = provider.callback();
  }
  response.statusCode = 204;
  response.end();
}

function route(request) {
  if (request.url === "/control") return control;
  if (request.url.startsWith("/interaction/")) return interact;
  return answer;
}

createServer((request, response) => {
  Promise.resolve(route(request)(request, response)).catch((error) => {
    console.error(error);
    response.statusCode = 500;
    response.end();
  });
}).listen(port, "localhost", () => console.log("ready"));
