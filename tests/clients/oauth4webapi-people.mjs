// oauth4webapi as an application with a key of its own uses it.
import { ask, library, run } from "./talk.mjs";

const oauth = await library("oauth4webapi", "build", "index.js");
const options = { [oauth.allowInsecureRequests]: true };
const ALGORITHMS = { Ed25519: { name: "Ed25519" }, ES256: { name: "ECDSA", namedCurve: "P-256" } };

async function discover(told) {
  const issuer = new URL(told.issuer);
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...options, algorithm: "oauth2" }));
}

// A client that registers itself, with a key of its own where an algorithm is told.
async function registered(as, told) {
  const facts = {
    client_name: "Reports",
    redirect_uris: [told.redirect_uri],
    grant_types: ["authorization_code", "refresh_token"],
    token_endpoint_auth_method: "none",
  };
  let proof = oauth.None();
  if (told.algorithm !== undefined) {
    const pair = await crypto.subtle.generateKey(ALGORITHMS[told.algorithm], true, ["sign", "verify"]);
    const { key_ops, ext, ...shown } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    facts.token_endpoint_auth_method = "private_key_jwt";
    facts.jwks = { keys: [{ ...shown, kid: "first" }] };
    proof = oauth.PrivateKeyJwt({ key: pair.privateKey, kid: "first" });
  }
  const answer = await oauth.dynamicClientRegistrationRequest(as, facts, options);
  return [await oauth.processDynamicClientRegistrationResponse(answer), proof];
}

await run({
  async code(told) {
    const as = await discover(told);
    const [client, proof] = await registered(as, told);
    const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
    const address = new URL(as.authorization_endpoint);
    address.search = new URLSearchParams({
      client_id: client.client_id,
      response_type: "code",
      redirect_uri: told.redirect_uri,
      scope: told.scope,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      state,
    });
    const back = new URL(await ask({ allow: address.href }));
    // It refuses an answer without `iss`, or with another one.
    const parameters = oauth.validateAuthResponse(as, client, back, state);
    const request = oauth.authorizationCodeGrantRequest(as, client, proof, parameters, told.redirect_uri, verifier, options);
    const first = await oauth.processAuthorizationCodeResponse(as, client, await request);
    // What a resource server does with it.
    const shown = new Request(told.issuer, { headers: { authorization: `Bearer ${first.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(as, shown, told.issuer, options);
    const before = await ask({ capable: first.access_token });
    const again = await oauth.refreshTokenGrantRequest(as, client, proof, first.refresh_token, options);
    const second = await oauth.processRefreshTokenResponse(as, client, again);
    const kept = await ask({ capable: second.access_token });
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(as, client, proof, second.refresh_token, options),
    );
    const after = await ask({ capable: second.access_token });
    let refused = null;
    try {
      const last = await oauth.refreshTokenGrantRequest(as, client, proof, second.refresh_token, options);
      await oauth.processRefreshTokenResponse(as, client, last);
    } catch (error) {
      refused = error.error;
    }
    return { claims, client_id: client.client_id, before, kept, after, refused, scope: first.scope };
  },
});
