// The peer of S1: node oidc-provider, one confidential client, one opaque token in its in-memory adapter.
// node peer.mjs PORT DIRECTORY prints the token, then answers POST /token/introspection by basic authentication.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [port, directory] = process.argv.slice(2);
// It warns of development keys and of its in-memory adapter: both are wanted here.
for (const name of ["warn", "info", "log"]) console[name] = () => {};
const library = join(directory, "node_modules", "oidc-provider", "lib", "index.js");
const { default: Provider } = await import(pathToFileURL(library).href);

const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "robo",
      client_secret: "secret",
      redirect_uris: [],
      response_types: [],
      grant_types: ["client_credentials"],
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
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
