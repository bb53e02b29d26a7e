// oauth4webapi as a program uses it: node oauth4webapi.mjs DIRECTORY TASK, with what it is told as JSON on standard input.
// It prints what it found as one JSON object, and ends with 1 where the library refuses an answer of the server's.
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [directory, task] = process.argv.slice(2);
const told = JSON.parse(readFileSync(0, "utf-8"));
const library = join(directory, "node_modules", "oauth4webapi", "build", "index.js");
const oauth = await import(pathToFileURL(library).href);

const options = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(told.issuer);
const client = { client_id: told.client_id };

async function discover(algorithm) {
  const answer = await oauth.discoveryRequest(issuer, { ...options, algorithm });
  return oauth.processDiscoveryResponse(issuer, answer);
}

async function keyOf(file, algorithm) {
  const der = createPrivateKey(file.private_key).export({ type: "pkcs8", format: "der" });
  const key = await crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
  return { key, kid: file.key_id };
}

async function authentication() {
  switch (told.method) {
    case "client_secret_basic":
      return oauth.ClientSecretBasic(told.secret);
    case "client_secret_post":
      return oauth.ClientSecretPost(told.secret);
    case "RS256":
      return oauth.PrivateKeyJwt(await keyOf(told.key_file, { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }));
    case "Ed25519":
      return oauth.PrivateKeyJwt(await keyOf(told.key_file, { name: "Ed25519" }));
    default:
      throw new Error(`there is no method ${told.method}`);
  }
}

async function token(as, proof, scope) {
  const answer = await oauth.clientCredentialsGrantRequest(as, client, proof, { scope }, options);
  return oauth.processClientCredentialsResponse(as, client, answer);
}

async function introspect(as, proof, text) {
  const answer = await oauth.introspectionRequest(as, client, proof, text, options);
  return oauth.processIntrospectionResponse(as, client, answer);
}

const TASKS = {
  async discover() {
    const [oauth2, oidc] = [await discover("oauth2"), await discover("oidc")];
    return { oauth2, oidc };
  },

  async trade() {
    const [as, proof] = [await discover("oauth2"), await authentication()];
    const granted = await token(as, proof, told.scope);
    // What a resource server does with it.
    const request = new Request(`${told.issuer}/anything`, {
      headers: { authorization: `Bearer ${granted.access_token}` },
    });
    const claims = await oauth.validateJwtAccessToken(as, request, told.issuer, options);
    const found = { granted, claims };
    if (told.introspects) found.before = await introspect(as, proof, granted.access_token);
    if (told.revokes) {
      const answer = await oauth.revocationRequest(as, client, proof, granted.access_token, options);
      await oauth.processRevocationResponse(answer);
      if (told.introspects) found.after = await introspect(as, proof, granted.access_token);
    }
    return found;
  },

  async refused() {
    const [as, proof] = [await discover("oauth2"), await authentication()];
    try {
      await token(as, proof, told.scope);
    } catch (error) {
      if (error instanceof oauth.WWWAuthenticateChallengeError) {
        const { status, cause } = error;
        return { status, schemes: cause.map((each) => each.scheme) };
      }
      if (error instanceof oauth.ResponseBodyError) return { status: error.status, error: error.error };
      throw error;
    }
    return {};
  },

  async exchange() {
    const as = await discover("oauth2");
    const grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    const type = "urn:ietf:params:oauth:token-type:access_token";
    const form = { subject_token: told.subject, subject_token_type: type, scope: told.scope };
    const proof = oauth.None();
    const answer = await oauth.genericTokenEndpointRequest(as, client, proof, grant, form, options);
    return oauth.processGenericTokenEndpointResponse(as, client, answer);
  },
};

process.stdout.write(`${JSON.stringify(await TASKS[task]())}\n`);
