// openid-client as an application uses it.
import { ask, library, run } from "./talk.mjs";

const client = await library("openid-client", "build", "index.js");
const options = { execute: [client.allowInsecureRequests] };
const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";

// Use the access, keep it, end it; nothing is good then.
async function used(config, first) {
  const before = await ask({ capable: first.access_token });
  const second = await client.refreshTokenGrant(config, first.refresh_token);
  const kept = await ask({ capable: second.access_token });
  await client.tokenRevocation(config, second.refresh_token, { token_type_hint: "refresh_token" });
  const after = await ask({ capable: second.access_token });
  let refused = null;
  try {
    await client.refreshTokenGrant(config, second.refresh_token);
  } catch (error) {
    refused = error.error;
  }
  return { before, kept, after, refused, scope: first.scope, rotated: second.refresh_token !== first.refresh_token };
}

async function registered(told, metadata) {
  const facts = { client_name: "Reports", token_endpoint_auth_method: "none", ...metadata };
  return client.dynamicClientRegistration(new URL(told.issuer), facts, client.None(), options);
}

await run({
  async code(told) {
    const config = await registered(told, { redirect_uris: [told.redirect_uri], grant_types: ["authorization_code", "refresh_token"] });
    const verifier = client.randomPKCECodeVerifier();
    const state = client.randomState();
    const address = client.buildAuthorizationUrl(config, {
      redirect_uri: told.redirect_uri,
      scope: told.scope,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      state,
    });
    const back = new URL(await ask({ allow: address.href }));
    const checks = { pkceCodeVerifier: verifier, expectedState: state };
    return used(config, await client.authorizationCodeGrant(config, back, checks));
  },

  async device(told) {
    const config = await registered(told, { grant_types: [DEVICE, "refresh_token"], response_types: [] });
    const shown = await client.initiateDeviceAuthorization(config, { scope: told.scope });
    await ask({ approve: shown.verification_uri, user_code: shown.user_code });
    return used(config, await client.pollDeviceAuthorizationGrant(config, shown));
  },
});
