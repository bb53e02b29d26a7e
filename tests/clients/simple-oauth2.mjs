// simple-oauth2, as an application without a secret uses it: it sends HTTP Basic with an empty password.
import { ask, library, run } from "./talk.mjs";

const { default: simple } = await library("simple-oauth2", "index.js");

await run({
  async code({ issuer, client_id, redirect_uri, scope, verifier, challenge }) {
    const client = new simple.AuthorizationCode({
      client: { id: client_id, secret: "" },
      auth: { tokenHost: issuer },
    });
    const address = client.authorizeURL({
      redirect_uri,
      scope,
      state: "xyz",
      code_challenge: challenge,
      code_challenge_method: "S256",
    });
    const back = new URL(await ask({ allow: address }));
    const code = back.searchParams.get("code");
    const first = await client.getToken({ code, redirect_uri, code_verifier: verifier });
    const before = await ask({ capable: first.token.access_token });
    const second = await first.refresh();
    const kept = await ask({ capable: second.token.access_token });
    await second.revokeAll();
    const after = await ask({ capable: second.token.access_token });
    return { before, kept, after, scope: first.token.scope };
  },
});
