// The SDK of the Model Context Protocol in TypeScript, as a machine that has a key file uses it.
import { library, run } from "./talk.mjs";

const sdk = (...path) => library("@modelcontextprotocol", "sdk", "dist", "esm", "client", ...path);
const { auth } = await sdk("auth.js");
const { PrivateKeyJwtProvider } = await sdk("auth-extensions.js");

await run({
  // From the address of a server alone: discovery, an assertion without `kid`, a token.
  async machine({ url, issuer, client_id, private_key, scope }) {
    const provider = new PrivateKeyJwtProvider({
      clientId: client_id,
      privateKey: private_key,
      algorithm: "RS256",
      expectedIssuer: issuer,
      scope,
    });
    const came = await auth(provider, { serverUrl: url });
    return { came, tokens: provider.tokens() };
  },
});
