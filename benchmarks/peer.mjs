// The peer of S1 and S7: node oidc-provider, one confidential client, everything in its in-memory adapter.
// node peer.mjs PORT DIRECTORY opaque|jwt prints one token, then answers POST /token and /token/introspection by basic
// authentication. `opaque` tokens are kept by it, a `jwt` is signed with ES256.
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [port, directory, form] = process.argv.slice(2);
// It warns of development keys and of its in-memory adapter: both are wanted here.
for (const name of ["warn", "info", "log"]) console[name] = () => {};
const library = join(directory, "node_modules", "oidc-provider", "lib", "index.js");
const { default: Provider } = await import(pathToFileURL(library).href);

const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const resource = {
  scope: "api",
  audience: issuer,
  accessTokenFormat: "jwt",
  accessTokenTTL: 3600,
  jwt: { sign: { alg: "ES256" } },
};
const provider = new Provider(issuer, {
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: "k", use: "sig", alg: "ES256" }] },
  clients: [
    {
      client_id: "robo",
      client_secret: "secret",
      redirect_uris: [],
      response_types: [],
      grant_types: ["client_credentials"],
      id_token_signed_response_alg: "ES256",
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: form === "jwt",
      defaultResource: () => issuer,
      getResourceServerInfo: () => resource,
    },
  },
  ttl: { ClientCredentials: 3600 },
});

const server = provider.listen(Number(port), "127.0.0.1", async () => {
  const answer = await fetch(`${issuer}/token`, {
    method: "POST",
    headers: {
      authorization: `Basic ${Buffer.from("robo:secret").toString("base64")}`,
      "content-type": "application/x-www-form-urlencoded",
    },
    body: "grant_type=client_credentials",
  });
  const { access_token: token } = await answer.json();
  process.stdout.write(`${token}\n`);
});
server.keepAliveTimeout = 0;
